"""The fused causal convolution: one Triton kernel each way over channel-last tokens; saves its inputs only."""

from typing import Any, Literal

import torch
from torch import Tensor

from vsrm_arch.ops.triton import power_of_two_from

__all__ = ["causal_conv1d_fused", "limit"]

_CHUNK = 64  # visits of a program
_CHANNELS = 64


def limit(x: Tensor, weight: Tensor) -> str | None:
    """Why the kernels cannot take inputs (B, L, E) and weights (E, K), or None if they can."""
    return "it knows no float64" if x.dtype == torch.float64 else None


def causal_conv1d_fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    reverse: bool | Literal["both"],
    scan_order: str,
    num_frames: int,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.causal_conv1d.causal_conv1d`."""
    x = x if x.stride(2) == 1 else x.contiguous()
    frames = num_frames if scan_order == "t2s" else 1
    bias = None if bias is None else bias.contiguous()
    if reverse == "both":
        return _forward(x, weight.contiguous(), bias, activation == "silu", False, frames)
    one_bias = None if bias is None else bias.unsqueeze(0)
    return _forward(x, weight.contiguous().unsqueeze(0), one_bias, activation == "silu", reverse, frames).squeeze(0)


def _launch(
    x: Tensor, weight: Tensor, silu: bool, reverse: bool, frames: int
) -> tuple[tuple[int, int, int], tuple[int, int, int, int, int], dict[str, Any]]:
    """The grid of (chunks, blocks of channels, batch), the sizes and the constants."""
    batch, length, channels = x.shape
    width = min(_CHANNELS, power_of_two_from(channels))
    constants = {
        "ROW": x.stride(1),
        "E": channels,
        "K": weight.shape[2],
        "SILU": silu,
        "FRAMES": frames,
        "REVERSE": reverse,
        "CHANNELS": width,
        "num_warps": 1,
    }
    grid = (-(-length // _CHUNK), -(-channels // width), len(weight) * batch)
    return grid, (length, length // frames, _CHUNK, batch, x.stride(0)), constants


# In both ops x is (B, L, E), and the parameters (G, E, K) and (G, E) are those of G directions.
@torch.library.custom_op("vsrm::causal_conv1d", mutates_args=())
def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool, frames: int) -> Tensor:
    from vsrm_arch.ops.causal_conv1d.kernels import forward_kernel

    grid, sizes, constants = _launch(x, weight, silu, reverse, frames)
    out = x.new_empty(len(weight), *x.shape)
    forward_kernel[grid](x, weight, bias, out, *sizes, **constants)
    return out


@_forward.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool, frames: int) -> Tensor:
    return x.new_empty(len(weight), *x.shape)


@torch.library.custom_op("vsrm::causal_conv1d_backward", mutates_args=())
def _backward(
    grad_out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool, frames: int
) -> tuple[Tensor, Tensor]:
    """The gradient of x, and that of taps and bias, ``(G, K + 1, E)`` in float32."""
    from vsrm_arch.ops.causal_conv1d.kernels import backward_kernel

    grid, sizes, constants = _launch(x, weight, silu, reverse, frames)
    (directions, channels, count), chunks = weight.shape, len(x) * grid[0]
    grad_x = x.new_empty(directions, *x.shape)
    summands = weight.new_empty(directions, chunks, count + 1, channels, dtype=torch.float32)
    backward_kernel[grid](x, weight, bias, grad_out, grad_x, summands, *sizes, **constants)
    return grad_x[0] if directions == 1 else grad_x[0] + grad_x[1], summands.sum(1)


@_backward.register_fake
def _(
    grad_out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool, frames: int
) -> tuple[Tensor, Tensor]:
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    return grad_x, weight.new_empty(len(weight), weight.shape[2] + 1, weight.shape[1], dtype=torch.float32)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.silu, ctx.reverse, ctx.frames = inputs
    ctx.save_for_backward(*tensors)


def _autograd(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias = ctx.saved_tensors
    grad_x, grads = _backward(grad_out.contiguous(), x, weight, bias, ctx.silu, ctx.reverse, ctx.frames)
    grad_weight = grads[:, :-1].mT.to(weight.dtype)
    return grad_x, grad_weight, None if bias is None else grads[:, -1].to(bias.dtype), None, None, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
