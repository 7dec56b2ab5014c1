"""The fused cross scan: Triton kernels for the closed form, one launch each way; saves its inputs only."""

from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.triton import SUMS, power_of_two_from

__all__ = ["cross_scan_fused", "limit"]

_CHANNELS = 32  # a program's, one a thread
_POINTS = 16  # a program's, one after the other
_MOST_TOKENS, _MOST_STATES = 16, 64


def limit(u: Tensor, A: Tensor) -> str | None:
    """Why the kernels cannot take inputs (P, K, E) with A (E, N), or None if they can."""
    if u.dtype == torch.float64:
        return "it knows no float64"
    if u.shape[1] > _MOST_TOKENS:
        return f"it takes at most {_MOST_TOKENS} reference tokens, not {u.shape[1]}"
    if A.shape[1] > _MOST_STATES:
        return f"it takes at most {_MOST_STATES} states a channel, not {A.shape[1]}"
    return None


def cross_scan_fused(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.cross_scan.cross_scan`."""
    u, delta, B, C = (t if t.stride(-1) == 1 else t.contiguous() for t in (u, delta, B, C))
    D, bias = (None if t is None else t.float().contiguous() for t in (D, delta_bias))
    return _forward(u, delta, A.float().contiguous(), B, C, D, bias, delta_softplus)


def _launch(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, softplus: bool
) -> tuple[tuple[int, int], tuple[int, int, int, int], dict[str, Any]]:
    """The grid of (blocks of points, blocks of channels), the sizes and the constants."""
    (points, tokens, channels), states = u.shape, A.shape[1]
    width = min(_CHANNELS, max(16, power_of_two_from(channels)))
    constants = {
        "U_ROW": u.stride(1),
        "DELTA_ROW": delta.stride(1),
        "B_ROW": B.stride(1),
        "C_ROW": C.stride(0),
        "K": tokens,
        "E": channels,
        "N": states,
        "SOFTPLUS": softplus,
        "POINTS": _POINTS,
        "STATES": max(16, power_of_two_from(states)),
        "CHANNELS": width,
        "num_warps": 1,
    }
    grid = (-(-points // _POINTS), -(-channels // width))
    return grid, (points, u.stride(0), delta.stride(0), B.stride(0)), constants


@torch.library.custom_op("vsrm::cross_scan", mutates_args=())
def _forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, bias: Tensor | None, softplus: bool
) -> Tensor:
    from vsrm_arch.ops.cross_scan.kernels import forward_kernel

    grid, sizes, constants = _launch(u, delta, A, B, C, softplus)
    out = u.new_empty(u.shape[0], u.shape[2])
    forward_kernel[grid](u, delta, A, B, C, D, bias, out, *sizes, **constants)
    return out


@_forward.register_fake
def _(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, bias: Tensor | None, softplus: bool
) -> Tensor:
    return u.new_empty(u.shape[0], u.shape[2])


@torch.library.custom_op("vsrm::cross_scan_backward", mutates_args=())
def _backward(
    grad_out: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of u, delta, A, B, C, D and the bias."""
    from vsrm_arch.ops.cross_scan.kernels import backward_kernel

    grid, sizes, constants = _launch(u, delta, A, B, C, softplus)
    (points, tokens, channels), states = u.shape, A.shape[1]
    grad_u, grad_delta = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (u, delta))
    grad_rows = A.new_empty(grid[1], points, tokens, states)
    grad_A = A.new_empty(grid[0], channels, states)
    grad_D, grad_bias = (A.new_empty(grid[0], channels) for _ in range(2))
    results = (grad_u, grad_delta, grad_rows, grad_A, grad_D, grad_bias)
    inputs = (u, delta, A, B, C, D, bias, grad_out)
    backward_kernel[grid](*inputs, *results, *sizes, **constants, PRECISION=SUMS[u.dtype])
    # The kernel knows B and C by their product only.
    of_rows = grad_rows.sum(0)
    grad_B = (of_rows * C[:, None]).to(B.dtype)
    grad_C = (of_rows * B).sum(1).to(C.dtype)
    return grad_u, grad_delta, grad_A.sum(0), grad_B, grad_C, grad_D.sum(0), grad_bias.sum(0)


@_backward.register_fake
def _(
    grad_out: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    like = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (u, delta, A, B, C))
    grad_u, grad_delta, grad_A, grad_B, grad_C = like
    return grad_u, grad_delta, grad_A, grad_B, grad_C, A.new_empty(len(A)), A.new_empty(len(A))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.softplus = inputs
    ctx.save_for_backward(*tensors)


def _autograd(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors
    grads = _backward(grad_out.contiguous(), *inputs, ctx.softplus)
    return *(None if t is None else g for t, g in zip(inputs, grads, strict=True)), None


_forward.register_autograd(_autograd, setup_context=_setup_context)
