"""The fused cross scan's kernels, in Triton's interpreter where there is no GPU."""

import pytest
import torch
from ops_testing import assert_same, cross_inputs, outputs_and_gradients

from vsrm_arch.ops.cross_scan import fused
from vsrm_arch.ops.cross_scan.naive import cross_scan_naive

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOKENS = {"u", "delta", "B", "C"}


def run(function, inputs, softplus):
    return outputs_and_gradients(lambda **tensors: function(*tensors.values(), softplus), inputs)


def check(inputs, dtype, softplus=True):
    """Fused in ``dtype`` against naive in float64 on the same, rounded inputs."""
    rounded = {k: None if t is None else t.to(dtype) if k in TOKENS else t.float() for k, t in inputs.items()}
    want = run(cross_scan_naive, {k: None if t is None else t.double() for k, t in rounded.items()}, softplus)
    got = run(fused.cross_scan_fused, rounded, softplus)
    assert_same(got, {name: tensor.to(got[name].dtype) for name, tensor in want.items()}, dtype)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 9, 5, 4), (20, 9, 40, 16), (2, 4, 17, 20)])
def test_against_naive(poisoned_memory, shape):
    check(cross_inputs(*shape, device=DEVICE), torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(poisoned_memory, dtype):
    check(cross_inputs(5, 9, 20, 16, device=DEVICE), dtype)


def test_without_optional_inputs_and_softplus(poisoned_memory):
    inputs = cross_inputs(5, 9, 6, 4, device=DEVICE, without=("D", "delta_bias"))
    inputs["delta"] = inputs["delta"].abs()
    check(inputs, torch.float32, softplus=False)


def test_as_an_op_of_pytorch():
    inputs = cross_inputs(3, 9, 16, 4, dtype=torch.float32, device=DEVICE)
    tensors = [t.requires_grad_() for t in inputs.values()]
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.vsrm.cross_scan, (*tensors, True), test_utils=tests)


def test_limits():
    inputs = cross_inputs(1, 17, 4, 80, dtype=torch.float32)
    assert fused.limit(inputs["u"].double(), inputs["A"]) == "it knows no float64"
    assert fused.limit(inputs["u"], inputs["A"]) == "it takes at most 16 reference tokens, not 17"
    assert fused.limit(inputs["u"][:, :9], inputs["A"]) == "it takes at most 64 states a channel, not 80"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_points_on_a_gpu(dtype):
    check(cross_inputs(4099, 9, 224, 16, device="cuda"), dtype)
