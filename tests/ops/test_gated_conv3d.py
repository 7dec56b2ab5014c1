import pytest
import torch
from ops_testing import assert_same, outputs_and_gradients
from torch import nn

from vsrm_arch.ops.gated_conv3d import gated_conv3d
from vsrm_arch.ops.gated_conv3d.fused import gated_conv3d_fused
from vsrm_arch.ops.gated_conv3d.portable import gated_conv3d_portable

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def gate_inputs(*shape, dtype=torch.float64, device="cpu"):
    channels = shape[-1]
    shapes = {"value": shape, "gate": shape}
    for half in ("value", "gate"):
        shapes |= {f"{half}_weight": (channels, 1, 3, 3, 3), f"{half}_bias": (channels,)}
    return {name: torch.randn(shape).to(device, dtype) for name, shape in shapes.items()}


def test_is_two_convolutions_and_a_gate():
    inputs = gate_inputs(2, 3, 4, 5, 6)
    sums = []
    for half in ("value", "gate"):
        convolution = nn.Conv3d(6, 6, 3, padding=1, groups=6).double()
        convolution.load_state_dict({"weight": inputs[f"{half}_weight"], "bias": inputs[f"{half}_bias"]})
        sums.append(convolution(inputs[half].permute(0, 4, 1, 2, 3)))
    want = (sums[0] * nn.functional.gelu(sums[1])).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(gated_conv3d(**inputs, backend="portable"), want)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "value",
            (2, 3, 4, 6),
            r"value: expected a tensor \(B, T, H, W, C\) that is not empty, got shape.*",
        ),
        ("gate", (2, 3, 4, 5, 7), r"gate: expected shape \(B, T, H, W, C\) = \(2, 3, 4, 5, 6\), got \(2, 3, 4, 5, 7\)"),
        ("gate_weight", (6, 27), r"gate_weight: expected shape \(C, 1, 3, 3, 3\) = \(6, 1, 3, 3, 3\), got \(6, 27\)"),
        ("value_bias", (3,), r"value_bias: expected shape \(C\) = \(6,\), got \(3,\)"),
    ],
)
def test_wrong_shape(name, shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        gated_conv3d(**{**gate_inputs(2, 3, 4, 5, 6), name: torch.zeros(shape, dtype=torch.float64)})


def test_gradients_of_the_definition():
    inputs = [tensor.requires_grad_() for tensor in gate_inputs(1, 2, 2, 3, 1).values()]
    assert torch.autograd.gradcheck(gated_conv3d_portable, inputs)


def test_autocast():
    inputs = gate_inputs(1, 2, 3, 4, 6, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert gated_conv3d(**inputs).dtype == torch.bfloat16


def assert_right(function, shape, dtype):
    """In ``dtype`` against float64 on the same, rounded features."""
    rounded = gate_inputs(*shape, dtype=torch.float32, device=DEVICE)
    rounded |= {half: rounded[half].to(dtype) for half in ("value", "gate")}
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        got = outputs_and_gradients(function, rounded)
    want = outputs_and_gradients(gated_conv3d_portable, {name: tensor.double() for name, tensor in rounded.items()})
    assert_same(got, {name: tensor.to(got[name].dtype) for name, tensor in want.items()}, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 2, 3, 4, 5), (1, 3, 16, 16, 16)])
def test_portable_precisions(shape, dtype):
    assert_right(gated_conv3d_portable, shape, dtype)


def check(shape, dtype):
    """The fused version, in Triton's interpreter where there is no GPU."""
    pytest.importorskip("triton")
    assert_right(gated_conv3d_fused, shape, dtype)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 3, 4, 5, 6), (1, 5, 2, 3, 3), (1, 2, 1, 19, 70)])
def test_fused_against_portable(poisoned_memory, shape):
    check(shape, torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_in_half_precision(poisoned_memory, dtype):
    check((1, 3, 2, 5, 6), dtype)


def test_as_an_op_of_pytorch():
    pytest.importorskip("triton")
    shapes = ((1, 2, 2, 3, 4), (1, 2, 2, 3, 4), (27, 4), (4,), (27, 4), (4,))
    tensors = [torch.randn(shape, device=DEVICE, requires_grad=True) for shape in shapes]
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.vsrm.gated_conv3d, tensors, test_utils=tests)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_full_size_on_a_gpu(dtype):
    check((2, 3, 64, 67, 112), dtype)


def test_fused_halves_of_one_tensor():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    halves = torch.randn(1, 2, 5, 7, 24, device=device).chunk(2, dim=-1)
    weights = [torch.randn(shape, device=device) for shape in ((12, 1, 3, 3, 3), (12,)) * 2]

    def run(first, second):
        first, second = first.detach().requires_grad_(), second.detach().requires_grad_()
        out = gated_conv3d_fused(first, second, *weights)
        return out, *torch.autograd.grad(out.sum(), (first, second))

    for apart, together in zip(run(*halves), run(*(half.contiguous() for half in halves)), strict=True):
        assert torch.equal(apart, together)
