"""The whole network on the fused kernels, in Triton's interpreter where there is no GPU, against plain PyTorch."""

import importlib
from contextlib import ExitStack

import pytest
import torch

from vsrm_arch.archs import VSRM
from vsrm_arch.propagation import BRANCHES

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PRODUCTS = {"norm_linear", "gated_linear"}  # their kernels know half precision only
SLOW = {"selective_scan", "gated_conv3d"}  # in the interpreter
OPS = {"causal_conv1d", "cross_scan", "encoded_sample"} | PRODUCTS | SLOW


def run(vsrm, lq, backend, dtype, ops):
    """The output and, by name, the gradients of the input and of every parameter."""
    vsrm.zero_grad()
    lq = lq.clone().requires_grad_()
    with ExitStack() as stack:
        for op in ops:
            function = getattr(importlib.import_module(f"vsrm_arch.ops.{op}.{backend}"), f"{op}_{backend}")
            stack.enter_context(importlib.import_module(f"vsrm_arch.ops.{op}").BACKENDS.replaced(function))
        # Of the convolutions that PyTorch runs, TF32 would be the largest difference.
        stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
        with torch.autocast(lq.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = vsrm(lq)
        output.float().square().mean().backward()
    gradients = {name: p.grad.clone() for name, p in vsrm.named_parameters()}
    return {"output": output.detach().float(), "input": lq.grad, **gradients}


def errors(got, want):
    """By name, the norm of the difference relative to that of what is expected."""
    return {name: ((got[name] - value).norm() / (value.norm() + 1e-12)).item() for name, value in want.items()}


def error_of_all(got, want):
    """The norm of the difference of everything, relative to that of what is expected."""
    return errors(*({"all": torch.cat([value.flatten() for value in t.values()])} for t in (got, want)))["all"]


def check(vsrm, lq, dtype, ops):
    want = run(vsrm.double(), lq.double(), "portable", torch.float64, OPS)
    want = {name: value.float() for name, value in want.items()}
    fused, portable = (run(vsrm.float(), lq, backend, dtype, ops) for backend in ("fused", "portable"))
    # Both round, and sums that nearly cancel keep few digits of a gradient: bfloat16's sign and size, at the least. The
    # offsets' is steep where a sampling point lies on a pixel.
    if dtype == torch.float32:
        most = {name: max(1e-2, 4 * error) for name, error in errors(portable, want).items()}
    else:
        most = dict.fromkeys(want, 0.5)
    assert {name: error for name, error in errors(fused, want).items() if error > most[name]} == {}
    # All together, the fused kernels do not round more coarsely than PyTorch, their exponentials in float32 apart.
    assert error_of_all(fused, want) < max(1e-5, 2 * error_of_all(portable, want))


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "ops"), [(torch.float32, OPS - PRODUCTS), (torch.bfloat16, OPS - SLOW)])
def test_fused_against_portable(dtype, ops):
    """With one branch of four: the interpreter takes seconds for each."""
    vsrm = VSRM(embed_dim=8, num_damb=1, num_s2tmb=1, d_state=4, flow_network="none", cuda_graphs=False)
    for name in BRANCHES[1:]:
        del vsrm.branches[name]
    check(vsrm.to(DEVICE), torch.rand(1, 2, 3, 2, 2, device=DEVICE), dtype, ops)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "ops"), [(torch.float32, OPS - PRODUCTS), (torch.bfloat16, OPS)])
def test_a_larger_one_on_a_gpu(dtype, ops):
    vsrm = VSRM(embed_dim=32, num_damb=1, num_s2tmb=2, flow_network="none", cuda_graphs=False).cuda()
    check(vsrm, torch.rand(1, 3, 3, 16, 24, device="cuda"), dtype, ops)
