"""The fused convolution's kernels, in Triton's interpreter where there is no GPU."""

import pytest
import torch
from ops_testing import assert_same, outputs_and_gradients

from vsrm_arch.ops.causal_conv1d import fused
from vsrm_arch.ops.causal_conv1d.naive import causal_conv1d_naive

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ORDERS = [("s2t", False), ("s2t", True), ("t2s", False), ("t2s", True)]


def check(shape, taps, dtype=torch.float32, bias=True, activation="silu", reverse=False, scan_order="s2t", frames=1):
    """Fused in ``dtype`` against naive in float64 on the same, rounded inputs."""
    channels = shape[2]
    inputs = {
        "x": torch.randn(shape, device=DEVICE).to(dtype),
        "weight": torch.randn(channels, taps, device=DEVICE),
        "bias": torch.randn(channels, device=DEVICE) if bias else None,
    }

    def run(function, tensors):
        options = (activation, reverse, scan_order, frames)
        return outputs_and_gradients(lambda x, weight, bias: function(x, weight, bias, *options), tensors)

    got = run(fused.causal_conv1d_fused, inputs)
    want = run(causal_conv1d_naive, {k: None if t is None else t.double() for k, t in inputs.items()})
    assert_same(got, {name: tensor.to(got[name].dtype) for name, tensor in want.items()}, dtype)


@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 39, 5), (1, 66, 70)])
def test_against_naive(poisoned_memory, shape, scan_order, reverse):
    check(shape, 4, scan_order=scan_order, reverse=reverse, frames=3 if shape[1] % 3 == 0 else 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(poisoned_memory, dtype):
    check((1, 37, 20), 4, dtype)


@pytest.mark.parametrize("taps", [1, 2, 7])
def test_any_number_of_taps(poisoned_memory, taps):
    check((2, 35, 17), taps, bias=False, activation=None)


def test_a_slice_of_something_wider():
    wide = torch.randn(2, 40, 32, device=DEVICE)
    x, weight = wide[..., 16:], torch.randn(16, 4, device=DEVICE)
    options = (weight, None, "silu", False, "s2t", 1)
    assert torch.equal(fused.causal_conv1d_fused(x, *options), fused.causal_conv1d_fused(x.contiguous(), *options))


def test_as_an_op_of_pytorch():
    tensors = [torch.randn(shape, device=DEVICE, requires_grad=True) for shape in ((1, 9, 16), (1, 16, 4), (1, 16))]
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.vsrm.causal_conv1d, (*tensors, True, False, 1), test_utils=tests)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
def test_long_sequences_on_a_gpu(dtype, scan_order, reverse):
    check((2, 3 * 367, 224), 4, dtype, scan_order=scan_order, reverse=reverse, frames=3)


@pytest.mark.gpu
def test_more_sequences_than_a_grid_takes_along_its_last_axes():
    check((70_000, 9, 8), 4)
