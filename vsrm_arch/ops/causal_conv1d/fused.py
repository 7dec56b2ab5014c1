"""The fused causal convolution: one Triton kernel each way over channel-last tokens; saves its inputs only."""

from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.triton import power_of_two_from

__all__ = ["causal_conv1d_fused", "limit"]

_TILE, _CHANNELS = 32, 128


def limit(x: Tensor, weight: Tensor) -> str | None:
    """Why the kernels cannot take inputs (B, L, E) and weights (E, K), or None if they can."""
    return "it knows no float64" if x.dtype == torch.float64 else None


def causal_conv1d_fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    reverse: bool,
    scan_order: str,
    num_frames: int,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.causal_conv1d.causal_conv1d`."""
    x = x if x.stride(2) == 1 else x.contiguous()
    frames = num_frames if scan_order == "t2s" else 1
    return _forward(x, weight.contiguous(), bias, activation == "silu", reverse, frames)


def _launch(
    x: Tensor, weight: Tensor, silu: bool, reverse: bool, frames: int
) -> tuple[tuple[int, int, int], tuple[int, int, int], dict[str, Any]]:
    """The grid of (tiles, blocks of channels, batch), the sizes and the constants."""
    batch, length, channels = x.shape
    width = min(_CHANNELS, power_of_two_from(channels))
    constants = {
        "ROW": x.stride(1),
        "E": channels,
        "K": weight.shape[1],
        "SILU": silu,
        "FRAMES": frames,
        "REVERSE": reverse,
        "T": _TILE,
        "CHANNELS": width,
    }
    return (-(-length // _TILE), -(-channels // width), batch), (length, length // frames, x.stride(0)), constants


@torch.library.custom_op("vsrm::causal_conv1d", mutates_args=())
def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool, frames: int) -> Tensor:
    from vsrm_arch.ops.causal_conv1d.kernels import forward_kernel

    grid, sizes, constants = _launch(x, weight, silu, reverse, frames)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    forward_kernel[grid](x, weight, bias, out, *sizes, **constants)
    return out


@_forward.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool, frames: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("vsrm::causal_conv1d_backward", mutates_args=())
def _backward(
    grad_out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool, frames: int
) -> tuple[Tensor, Tensor, Tensor]:
    from vsrm_arch.ops.causal_conv1d.kernels import backward_kernel

    grid, sizes, constants = _launch(x, weight, silu, reverse, frames)
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    grad_weight = weight.new_empty(len(x), grid[0], *weight.shape, dtype=torch.float32)
    grad_bias = weight.new_empty(len(x), grid[0], len(weight), dtype=torch.float32)
    backward_kernel[grid](x, weight, bias, grad_out, grad_x, grad_weight, grad_bias, *sizes, **constants)
    return grad_x, grad_weight.sum((0, 1)).to(weight.dtype), grad_bias.sum((0, 1)).to(weight.dtype)


@_backward.register_fake
def _(
    grad_out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool, frames: int
) -> tuple[Tensor, Tensor, Tensor]:
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    return grad_x, torch.empty_like(weight), weight.new_empty(len(weight))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.silu, ctx.reverse, ctx.frames = inputs
    ctx.save_for_backward(*tensors)


def _autograd(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias = ctx.saved_tensors
    grads = _backward(grad_out.contiguous(), x, weight, bias, ctx.silu, ctx.reverse, ctx.frames)
    grad_bias = None if bias is None else grads[2].to(bias.dtype)
    return grads[0], grads[1], grad_bias, None, None, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
