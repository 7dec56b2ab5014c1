"""The fused scan's kernels, in Triton's interpreter where there is no GPU."""

import pytest
import torch
from ops_testing import assert_same, outputs_and_gradients, scan_inputs

from vsrm_arch.ops.selective_scan import fused
from vsrm_arch.ops.selective_scan.naive import selective_scan_naive

pytest.importorskip("triton")

ORDERS = [("s2t", False), ("s2t", True), ("t2s", False), ("t2s", True)]


@pytest.fixture
def kernel_device(monkeypatch):
    if torch.cuda.is_available():
        return "cuda"
    # The interpreter is slow: enough chunks for a carry, few enough for a test.
    monkeypatch.setattr(fused, "_PROGRAMS", 2)
    return "cpu"


def run(function, inputs, softplus=True, reverse=False, scan_order="s2t", num_frames=1):
    def op(**tensors):
        return function(*tensors.values(), softplus, reverse, scan_order, num_frames)

    return outputs_and_gradients(op, inputs)


def check(inputs, dtype, **options):
    """Fused in ``dtype`` against naive in float64 on the same, rounded inputs."""
    rounded = {k: None if t is None else t.to(dtype) if k in TOKENS else t.float() for k, t in inputs.items()}
    want = run(selective_scan_naive, {k: None if t is None else t.double() for k, t in rounded.items()}, **options)
    got = run(fused.selective_scan_fused, rounded, **options)
    assert_same(got, {name: tensor.to(got[name].dtype) for name, tensor in want.items()}, dtype)


TOKENS = {"u", "delta", "B", "C", "z"}


@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 51, 5, 4), (1, 45, 40, 16)])
def test_against_naive(kernel_device, poisoned_memory, shape, scan_order, reverse):
    frames = 3 if shape[1] % 3 == 0 else 1
    inputs = scan_inputs(*shape, device=kernel_device)
    check(inputs, torch.float32, reverse=reverse, scan_order=scan_order, num_frames=frames)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(kernel_device, poisoned_memory, dtype):
    check(scan_inputs(1, 37, 20, 16, device=kernel_device), dtype)


@pytest.mark.parametrize("states", [3, 5, 32])
def test_any_number_of_states(kernel_device, poisoned_memory, states):
    check(scan_inputs(1, 9, 17, states, device=kernel_device), torch.float32)


def test_without_optional_inputs_and_softplus(kernel_device, poisoned_memory):
    inputs = scan_inputs(1, 41, 6, 4, device=kernel_device, without=("D", "z", "delta_bias"))
    inputs["delta"] = inputs["delta"].abs()
    check(inputs, torch.float32, softplus=False)


def test_slices_of_something_wider(kernel_device):
    inputs = scan_inputs(2, 35, 16, 4, dtype=torch.float32, device=kernel_device)
    sliced = dict(inputs)
    inputs["z"] = sliced["z"] = None
    sliced["u"], _ = torch.cat((inputs["u"], inputs["delta"]), 2).chunk(2, dim=2)
    sliced["B"], sliced["C"] = torch.cat((inputs["u"][..., :3], inputs["B"], inputs["C"]), 2)[..., 3:].chunk(2, dim=2)
    assert not sliced["u"].is_contiguous()

    def op(tensors):
        return fused.selective_scan_fused(*tensors.values(), True, False, "s2t", 1)

    assert torch.equal(op(sliced), op(inputs))


def test_slow_and_fast_states(kernel_device):
    """Time steps from 1e-4, where 1 + e^x loses digits, to 30, where nothing is left of the state."""
    inputs = scan_inputs(1, 48, 16, 4, device=kernel_device, without=("z", "delta_bias"))
    inputs["delta"] = torch.linspace(-9, 30, 48).double().to(kernel_device)[None, :, None].repeat(1, 1, 16)
    check(inputs, torch.float32)


def test_the_same_numbers_again(kernel_device):
    """No sum depends on the order in which programs end."""
    inputs = scan_inputs(1, 40, 20, 4, dtype=torch.float32, device=kernel_device)
    first, second = (run(fused.selective_scan_fused, inputs) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_as_an_op_of_pytorch(kernel_device):
    inputs = scan_inputs(1, 9, 16, 4, dtype=torch.float32, device=kernel_device, without=("z",))
    del inputs["z"]
    for name in ("A", "D", "delta_bias"):
        inputs[name] = inputs[name].unsqueeze(0)  # of one direction
    tensors = [t.requires_grad_() for t in inputs.values()]
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.vsrm.selective_scan, (*tensors, True, False, 1), test_utils=tests)


def test_limits():
    inputs = scan_inputs(1, 9, 4, 80)
    assert fused.limit(inputs["u"], inputs["A"]) == "it knows no float64"
    assert fused.limit(inputs["u"].float(), inputs["A"]) == "it takes at most 64 states a channel, not 80"
    many = torch.empty(2, 32_768, 1, 1)
    assert fused.limit(many, inputs["A"][:, :4]) == "it takes at most 65535 sequences, not 65536"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
def test_long_sequences_on_a_gpu(dtype, scan_order, reverse):
    inputs = scan_inputs(2, 3 * 1367, 224, 16, dtype=torch.float64, device="cuda", without=("z",))
    check(inputs, dtype, scan_order=scan_order, reverse=reverse, num_frames=3)


def check_the_end(length, channels, states, end, reverse, device):
    """In bfloat16, the last ``end`` tokens and what they add to each gradient, against a scan of little more than them.

    A state more than halves at each token: of what stands twice as far from the end, nothing is left.
    """
    options = {"dtype": torch.bfloat16, "device": device}
    tokens = {"u": channels, "delta": channels, "B": states, "C": states}
    inputs = {name: torch.randn(1, length, width, **options) for name, width in tokens.items()}
    inputs["delta"].abs_().add_(1)
    for name, shape in {"A": (channels, states), "D": (channels,), "bias": (channels,)}.items():
        inputs[name] = torch.rand(shape, device=device)
    inputs["A"].add_(1).neg_()
    grad = torch.randn(1, end, channels, **options)

    def run(function, inputs):
        leaves = {name: t.detach().requires_grad_() for name, t in inputs.items()}
        u, delta, B, C, A, D, bias = leaves.values()
        out = function(u, delta, A, B, C, D, None, bias, False, reverse, "s2t", 1)
        # Elsewhere the output is given no gradient.
        out.backward(torch.nn.functional.pad(grad.to(out), (0, 0, out.shape[1] - end, 0)))
        of_end = {f"gradient of {name}": t.grad[:, -end:] if name in tokens else t.grad for name, t in leaves.items()}
        return {"output": out.detach()[:, -end:], **of_end}

    tail = {name: (t[:, -2 * end :] if name in tokens else t).double() for name, t in inputs.items()}
    want, got = run(selective_scan_naive, tail), run(fused.selective_scan_fused, inputs)
    assert_same(got, {name: tensor.to(got[name].dtype) for name, tensor in want.items()}, torch.bfloat16)


def test_the_end_of_a_sequence(kernel_device, poisoned_memory):
    check_the_end(35, 5, 4, end=8, reverse=False, device=kernel_device)


@pytest.mark.gpu
@pytest.mark.parametrize("reverse", [False, True])
def test_more_than_32_bits_can_count(reverse):
    """Of the numbers in the tokens as well as in the states that the backward pass keeps."""
    if torch.cuda.mem_get_info()[0] < 50 * 2**30:
        pytest.skip("needs 50 GiB of GPU memory")
    end = 300
    check_the_end(2**31 // 224 + 2 * end, 224, 4, end, reverse, "cuda")
