"""The fused gated convolution: both convolutions and the gate in one Triton kernel; saves its inputs only."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from vsrm_arch.ops.triton import power_of_two_to

__all__ = ["gated_conv3d_fused", "limit"]

# A thread takes a whole clip if it is short, which leaves out the frames around it, or else some frames of it.
_SHORT, _FRAMES = 3, 2
# A program walks down a strip of rows: a short one where there are few programs to keep a large card busy.
_FEWEST_ROWS, _MOST_ROWS, _PROGRAMS = 2, 32, 256


def limit(value: Tensor, gate: Tensor) -> str | None:
    """Why the kernels cannot take the features, or None if they can."""
    if value.dtype != gate.dtype:
        return f"it takes features of one dtype, not {value.dtype} and {gate.dtype}"
    return "it knows no float64" if value.dtype == torch.float64 else None


def gated_conv3d_fused(
    value: Tensor, gate: Tensor, value_weight: Tensor, value_bias: Tensor, gate_weight: Tensor, gate_bias: Tensor
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.gated_conv3d.gated_conv3d`."""
    of_value, of_gate = (_taps(value_weight), value_bias.contiguous()), (_taps(gate_weight), gate_bias.contiguous())
    return _forward(_tokens(value), _tokens(gate), *of_value, *of_gate)


def _taps(weight: Tensor) -> Tensor:
    return rearrange(weight, "c 1 t h w -> (h t w) c").contiguous()


def _tokens(x: Tensor) -> Tensor:
    """As (B, T, H, W, C) in memory's order; its tokens may lie apart."""
    (_, frames, height, width, _), row = x.shape, x.stride(3)
    in_order = (frames * height * width * row, height * width * row, width * row, row, 1)
    return x if x.stride() == in_order else x.contiguous()


class _Launch:
    """The grid, the sizes and the constants."""

    def __init__(self, x: Tensor) -> None:
        from vsrm_arch.ops.gated_conv3d.kernels import COLUMNS, THREADS

        batch, frames, height, width, channels = x.shape
        at_once = frames if frames <= _SHORT else _FRAMES
        chunks = -(-frames // at_once)
        self.columns = -(-width // COLUMNS.value)
        blocks = -(-self.columns * channels // THREADS.value)
        rows = power_of_two_to(batch * chunks * blocks * height // _PROGRAMS)
        rows = min(max(rows, _FEWEST_ROWS), _MOST_ROWS)
        strips = -(-height // rows)
        self.parts = batch * chunks * strips
        self.grid = (self.parts * blocks,)
        self.sizes = (frames, height, width, strips)
        self.constants = {"C": channels, "ROWS": rows, "FRAMES": at_once, "EDGE": int(chunks > 1)}


# In both ops the features are (B, T, H, W, C), the taps (27, C), by (row, frame, column).
@torch.library.custom_op("vsrm::gated_conv3d", mutates_args=())
def _forward(
    value: Tensor, gate: Tensor, value_taps: Tensor, value_bias: Tensor, gate_taps: Tensor, gate_bias: Tensor
) -> Tensor:
    from vsrm_arch.ops.gated_conv3d.kernels import gated_kernel

    out = torch.empty_like(value, memory_format=torch.contiguous_format)
    launch, rows = _Launch(value), {"VALUE_ROW": value.stride(3), "GATE_ROW": gate.stride(3)}
    inputs = (value, gate, value_taps, value_bias, gate_taps, gate_bias)
    gated_kernel[launch.grid](*inputs, None, out, None, *launch.sizes, **rows, **launch.constants, BACKWARD=False)
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

    grads = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (value, gate)]
    launch, rows = _Launch(value), {"VALUE_ROW": value.stride(3), "GATE_ROW": gate.stride(3)}
    inputs = (value, gate, value_taps, value_bias, gate_taps, gate_bias, grad_out)
    gated_kernel[launch.grid](*inputs, *grads, *launch.sizes, **rows, **launch.constants, BACKWARD=True)
    grad_value, *of_value = _through_convolution(value, value_taps, value_bias, grads[0])
    grad_gate, *of_gate = _through_convolution(gate, gate_taps, gate_bias, grads[1])
    return grad_value, grad_gate, of_value[0], of_value[1], of_gate[0], of_gate[1]


def _through_convolution(x: Tensor, taps: Tensor, bias: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a convolution's input, taps and bias."""
    from vsrm_arch.ops.gated_conv3d.kernels import convolution_backward_kernel

    launch = _Launch(x)
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    summands = x.new_empty(launch.parts * launch.columns, 28, x.shape[-1], dtype=torch.float32)
    convolution_backward_kernel[launch.grid](
        x, taps, grad, grad_x, summands, *launch.sizes, **launch.constants, ROW=x.stride(3)
    )
    sums = summands.sum(0)
    # What an op returns must not share memory.
    return grad_x, sums[:27].to(taps.dtype), sums[27].to(bias.dtype, copy=True)


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
