"""Fused sampling and encoding: one Triton kernel each way; saves its inputs only.

The feature's gradient is summed atomically, in an order that changes from run to run, as in PyTorch's own grid_sample
on a GPU.
"""

from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.backends import unordered_sums
from vsrm_arch.ops.positional_encoding import frequencies
from vsrm_arch.ops.triton import power_of_two_from

__all__ = ["encoded_sample_fused", "limit"]

_POINTS = 16
_MOST_CHANNELS = 512
_BASE = 0.01


def limit(feature: Tensor) -> str | None:
    """Why the kernels cannot take a feature (B, H, W, C), or None if they can."""
    if feature.dtype == torch.float64:
        return "it knows no float64"
    if feature.shape[-1] > _MOST_CHANNELS or feature.shape[-1] % 2:
        return f"it takes an even number of channels up to {_MOST_CHANNELS}, not {feature.shape[-1]}"
    return unordered_sums()


def encoded_sample_fused(feature: Tensor, position: Tensor, local: Tensor, extent: float) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.encoded_sample.encoded_sample`."""
    turns = frequencies(feature.shape[-1], extent, _BASE, feature.device)
    return _forward(feature.contiguous(), position.float().contiguous(), local.float().contiguous(), turns)


def _launch(feature: Tensor, position: Tensor) -> tuple[tuple[int, int], tuple[int, int, int], dict[str, int]]:
    """The grid of (blocks of points, batch), the sizes and the constants."""
    batch, height, width, channels = feature.shape
    points = position.shape[1]
    constants = {"C": channels, "POINTS": _POINTS, "CHANNELS": power_of_two_from(channels)}
    return (-(-points // _POINTS), batch), (points, height, width), constants


@torch.library.custom_op("vsrm::encoded_sample", mutates_args=())
def _forward(feature: Tensor, position: Tensor, local: Tensor, frequency: Tensor) -> Tensor:
    from vsrm_arch.ops.encoded_sample.kernels import forward_kernel

    grid, sizes, constants = _launch(feature, position)
    out = feature.new_empty(*position.shape[:2], feature.shape[-1])
    forward_kernel[grid](feature, position, local, frequency, out, *sizes, **constants)
    return out


@_forward.register_fake
def _(feature: Tensor, position: Tensor, local: Tensor, frequency: Tensor) -> Tensor:
    return feature.new_empty(*position.shape[:2], feature.shape[-1])


@torch.library.custom_op("vsrm::encoded_sample_backward", mutates_args=())
def _backward(
    grad_out: Tensor, feature: Tensor, position: Tensor, local: Tensor, frequency: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from vsrm_arch.ops.encoded_sample.kernels import backward_kernel

    grid, sizes, constants = _launch(feature, position)
    grad_feature = torch.zeros_like(feature, dtype=torch.float32)
    grad_position, grad_local = torch.empty_like(position), torch.empty_like(local)
    inputs, grads = (feature, position, local, frequency), (grad_feature, grad_position, grad_local)
    backward_kernel[grid](*inputs, grad_out, *grads, *sizes, **constants)
    return grad_feature.to(feature.dtype), grad_position, grad_local


@_backward.register_fake
def _(
    grad_out: Tensor, feature: Tensor, position: Tensor, local: Tensor, frequency: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(feature), torch.empty_like(position), torch.empty_like(local)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _autograd(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    return *_backward(grad_out.contiguous(), *ctx.saved_tensors), None


_forward.register_autograd(_autograd, setup_context=_setup_context)
