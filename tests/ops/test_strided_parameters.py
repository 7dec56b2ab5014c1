"""Parameters need not lie side by side in memory."""

import pytest
import torch
from ops_testing import cross_inputs, scan_inputs

from vsrm_arch.ops.causal_conv1d.fused import causal_conv1d_fused
from vsrm_arch.ops.cross_scan.fused import cross_scan_fused
from vsrm_arch.ops.gated_conv3d.fused import gated_conv3d_fused
from vsrm_arch.ops.gated_linear.fused import gated_linear_fused
from vsrm_arch.ops.norm_linear.fused import norm_linear_fused
from vsrm_arch.ops.selective_scan.fused import selective_scan_fused

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def draw(dtype, **shapes):
    return {name: torch.randn(shape, dtype=dtype) for name, shape in shapes.items()}


SCAN = {"delta_softplus": True, "reverse": False, "scan_order": "s2t", "num_frames": 1}
CASES = {
    "selective_scan": (selective_scan_fused, scan_inputs(1, 5, 16, 4, dtype=torch.float32), SCAN),
    "cross_scan": (cross_scan_fused, cross_inputs(2, 3, 16, 4, dtype=torch.float32), {"delta_softplus": True}),
    "causal_conv1d": (
        causal_conv1d_fused,
        draw(torch.float32, x=(1, 5, 16), weight=(16, 4), bias=(16,)),
        {"activation": "silu", "reverse": False, "scan_order": "s2t", "num_frames": 1},
    ),
    "gated_conv3d": (
        gated_conv3d_fused,
        draw(torch.float32, value=(1, 2, 3, 4, 8), gate=(1, 2, 3, 4, 8))
        | draw(torch.float32, value_weight=(8, 1, 3, 3, 3), value_bias=(8,))
        | draw(torch.float32, gate_weight=(8, 1, 3, 3, 3), gate_bias=(8,)),
        {},
    ),
    "norm_linear": (
        norm_linear_fused,
        draw(torch.bfloat16, x=(5, 16), norm_weight=(16,), norm_bias=(16,), weight=(32, 16), bias=(32,))
        | draw(torch.bfloat16, part_weight=(2, 16), part_bias=(2, 16)),
        {"eps": 1e-5},
    ),
    "gated_linear": (
        gated_linear_fused,
        draw(torch.bfloat16, x=(5, 16), weight=(24, 16), bias=(24,), residual=(5, 24), other=(5, 16), gate=(5, 16)),
        {},
    ),
}


def apart(tensor):
    """The same numbers, every other element of a larger tensor."""
    return torch.stack((tensor, torch.full_like(tensor, torch.nan)), dim=-1)[..., 0]


def outputs(function, inputs, options):
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    output = function(**leaves, **options)
    return output, *torch.autograd.grad(output.float().square().sum(), list(leaves.values()))


@pytest.mark.parametrize("op", CASES)
def test_the_result_is_the_same(op):
    function, inputs, options = CASES[op]
    inputs = {name: tensor.to(DEVICE) for name, tensor in inputs.items()}
    together = outputs(function, inputs, options)
    strided = outputs(function, {name: apart(tensor) for name, tensor in inputs.items()}, options)
    for one, other in zip(together, strided, strict=True):
        torch.testing.assert_close(one, other)
