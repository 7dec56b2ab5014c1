"""The fused gated convolution: both convolutions and the gate in one Triton kernel; saves its inputs only."""

from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.triton import power_of_two_from, power_of_two_to

__all__ = ["gated_conv3d_fused", "limit"]

_COLUMNS, _CHANNELS = 32, 64
# A program walks down a strip of rows: a short one where there are few programs to keep a large card busy.
_FEWEST_ROWS, _MOST_ROWS, _PROGRAMS = 2, 16, 512
_GROUP = 8  # image rows that a summand of the weights' gradient covers


def limit(x: Tensor) -> str | None:
    """Why the kernels cannot take x, or None if they can."""
    return "it knows no float64" if x.dtype == torch.float64 else None


def gated_conv3d_fused(
    value: Tensor, gate: Tensor, value_weight: Tensor, value_bias: Tensor, gate_weight: Tensor, gate_bias: Tensor
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.gated_conv3d.gated_conv3d`."""
    value_taps, gate_taps = (weight.flatten(1).t().contiguous() for weight in (value_weight, gate_weight))
    return _forward(_tokens(value), _tokens(gate), value_taps, value_bias, gate_taps, gate_bias)


def _tokens(x: Tensor) -> Tensor:
    """As (B, T, H, W, C) in memory's order; its tokens may lie apart."""
    (_, frames, height, width, _), row = x.shape, x.stride(3)
    in_order = (frames * height * width * row, height * width * row, width * row, row, 1)
    return x if x.stride() == in_order else x.contiguous()


class _Launch:
    """The grid of (strips of rows, parts of a row, blocks of channels), the sizes and the constants."""

    def __init__(self, x: Tensor) -> None:
        batch, frames, height, width, channels = x.shape
        columns, block = min(_COLUMNS, power_of_two_from(width)), min(_CHANNELS, power_of_two_from(channels))
        parts, blocks = -(-width // columns), -(-channels // block)
        rows = power_of_two_to(batch * frames * height * parts * blocks // _PROGRAMS)
        rows = min(max(rows, _FEWEST_ROWS), _MOST_ROWS)
        strips = -(-height // rows)
        self.grid = (batch * frames * strips, parts, blocks)
        self.sizes = (frames, height, width)
        self.strips = strips
        self.tile = {"C": channels, "COLUMNS": columns, "CHANNELS": block}
        self.constants = {**self.tile, "ROWS": rows}

    def rows(self, value: Tensor, gate: Tensor) -> dict[str, int]:
        """The constants of a kernel that reads both features."""
        return {**self.constants, "VALUE_ROW": value.stride(3), "GATE_ROW": gate.stride(3)}


# In both ops the features are (B, T, H, W, C), the taps (27, C).
@torch.library.custom_op("vsrm::gated_conv3d", mutates_args=())
def _forward(
    value: Tensor, gate: Tensor, value_taps: Tensor, value_bias: Tensor, gate_taps: Tensor, gate_bias: Tensor
) -> Tensor:
    from vsrm_arch.ops.gated_conv3d.kernels import gated_kernel

    launch = _Launch(value)
    out = torch.empty_like(value, memory_format=torch.contiguous_format)
    inputs = (value, gate, value_taps, value_bias, gate_taps, gate_bias)
    sizes = (*launch.sizes, launch.strips)
    gated_kernel[launch.grid](*inputs, None, out, None, *sizes, **launch.rows(value, gate), BACKWARD=False)
    return out


@_forward.register_fake
def _(
    value: Tensor, gate: Tensor, value_taps: Tensor, value_bias: Tensor, gate_taps: Tensor, gate_bias: Tensor
) -> Tensor:
    return torch.empty_like(value, memory_format=torch.contiguous_format)


@torch.library.custom_op("vsrm::gated_conv3d_backward", mutates_args=())
def _backward(
    grad_out: Tensor,
    value: Tensor,
    gate: Tensor,
    value_taps: Tensor,
    value_bias: Tensor,
    gate_taps: Tensor,
    gate_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of the six inputs."""
    from vsrm_arch.ops.gated_conv3d.kernels import gated_kernel

    launch = _Launch(value)
    grad_first, grad_second = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (value, gate))
    inputs = (value, gate, value_taps, value_bias, gate_taps, gate_bias, grad_out)
    sizes = (*launch.sizes, launch.strips)
    gated_kernel[launch.grid](*inputs, grad_first, grad_second, *sizes, **launch.rows(value, gate), BACKWARD=True)
    grad_value, *of_value = _through_convolution(value, value_taps, value_bias, grad_first)
    grad_gate, *of_gate = _through_convolution(gate, gate_taps, gate_bias, grad_second)
    return grad_value, grad_gate, of_value[0], of_value[1], of_gate[0], of_gate[1]


def _through_convolution(x: Tensor, taps: Tensor, bias: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a convolution's input, taps and bias."""
    from vsrm_arch.ops.gated_conv3d.kernels import convolve_kernel, grad_taps_kernel

    launch = _Launch(x)
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    convolve_kernel[launch.grid](grad, taps.flip(0), grad_x, *launch.sizes, launch.strips, **launch.constants)
    rows = x.shape[0] * x.shape[1] * x.shape[2]
    groups = -(-rows // _GROUP)
    grad_taps = x.new_empty(groups, *taps.shape, dtype=torch.float32)
    grad_taps_kernel[(groups, 9, launch.grid[2])](
        x, grad, grad_taps, rows, *launch.sizes, _GROUP, **launch.tile, ROW=x.stride(3)
    )  # fmt: skip
    grad_bias = grad.flatten(0, -2).sum(0, dtype=torch.float32)
    return grad_x, grad_taps.sum(0).to(taps.dtype), grad_bias.to(bias.dtype)


@_backward.register_fake
def _(
    grad_out: Tensor,
    value: Tensor,
    gate: Tensor,
    value_taps: Tensor,
    value_bias: Tensor,
    gate_taps: Tensor,
    gate_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    grad_value, grad_gate = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (value, gate))
    of_value, of_gate = torch.empty_like(value_taps), torch.empty_like(gate_taps)
    return grad_value, grad_gate, of_value, torch.empty_like(value_bias), of_gate, torch.empty_like(gate_bias)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _autograd(ctx: Any, grad_out: Tensor) -> tuple[Tensor, ...]:
    return _backward(grad_out.contiguous(), *ctx.saved_tensors)


_forward.register_autograd(_autograd, setup_context=_setup_context)
