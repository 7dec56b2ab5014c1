"""The selective scan by mamba-ssm's CUDA extension, which knows one direction, one order and channels first.

The extension is used as it is, without mamba-ssm's Python package: that one imports parts that a super-resolution
network has no use for.
"""

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.backends import INSTALL_CUDA, unordered_sums
from vsrm_arch.ops.scan_order import Visit

__all__ = ["limit", "obstacle", "selective_scan_mamba_ssm"]

# Of the extension: channels are the second axis of its launch grid, offsets are 32-bit integers, the state is bounded.
_MOST_CHANNELS = 65_535
_MOST_ELEMENTS = 2**31 - 1
_MOST_STATES = 256


@cache
def _installed() -> bool:
    # `import mamba_ssm` proves nothing: newer releases are built without this extension unless told otherwise.
    return find_spec("selective_scan_cuda") is not None


def obstacle(device_type: str) -> str | None:
    """Why the backend cannot run on a device type, or None if it can."""
    if device_type != "cuda":
        return f"it needs a CUDA device, not {device_type}"
    if not _installed():
        return f"the module selective_scan_cuda is missing; {INSTALL_CUDA}"
    return None


def limit(u: Tensor, A: Tensor) -> str | None:
    """Why the extension cannot take inputs (B, L, E) with A (E, N), or None if it can."""
    if u.dtype == torch.float64:
        return "it knows no float64"
    if u.shape[-1] > _MOST_CHANNELS:
        return f"it takes at most {_MOST_CHANNELS} channels, not {u.shape[-1]}: pixels belong in the batch axis"
    if u.numel() > _MOST_ELEMENTS:
        return f"it takes at most {_MOST_ELEMENTS} elements (32-bit offsets), not {u.numel()}: split the sequence"
    if A.shape[-1] > _MOST_STATES:
        return f"it takes at most {_MOST_STATES} states a channel, not {A.shape[-1]}"
    return unordered_sums()


class _SelectiveScanCuda(torch.autograd.Function):
    """The extension's forward and backward; all tensors as it wants them."""

    @staticmethod
    def forward(ctx: Any, softplus: bool, *inputs: Any) -> Tensor:
        import selective_scan_cuda

        z = inputs[6]
        out, checkpoints, *gated = selective_scan_cuda.fwd(*inputs, softplus)
        ctx.softplus = softplus
        ctx.save_for_backward(*inputs, checkpoints, None if z is None else out)
        result: Tensor = out if z is None else gated[0]
        return result

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        import selective_scan_cuda

        *inputs, checkpoints, out = ctx.saved_tensors
        grad = grad_outputs[0].contiguous()
        # No buffer is given for z's gradient, and the gated output is not asked for again.
        grads = selective_scan_cuda.bwd(*inputs, grad, checkpoints, out, None, ctx.softplus, False)
        grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias, *grad_z = grads
        D, z, bias = inputs[5:]
        optional = (
            None if D is None else grad_D,
            None if z is None else grad_z[0],
            None if bias is None else grad_bias,
        )
        return None, grad_u, grad_delta, grad_A, grad_B, grad_C, *optional


def selective_scan_mamba_ssm(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    scan_order: str,
    num_frames: int,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.selective_scan.selective_scan`."""
    visit = Visit(u.shape[1], scan_order, num_frames, reverse)

    def channels_first(tokens: Tensor) -> Tensor:
        return visit.visited(tokens).to(u.dtype).transpose(1, 2).contiguous()

    out: Tensor = _SelectiveScanCuda.apply(
        delta_softplus,
        channels_first(u),
        channels_first(delta),
        A.float().contiguous(),
        channels_first(B)[:, None],
        channels_first(C)[:, None],
        None if D is None else D.float().contiguous(),
        None if z is None else channels_first(z),
        None if delta_bias is None else delta_bias.float().contiguous(),
    )
    return visit.back(out.transpose(1, 2))
