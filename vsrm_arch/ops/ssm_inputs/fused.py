"""A scan's fused inputs: one Triton kernel forward; backward is made of PyTorch's products and the convolution's."""

from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.causal_conv1d.fused import convolution_gradients
from vsrm_arch.ops.matrices import matrix_limit, working_dtype
from vsrm_arch.ops.scan_order import ScanOrder
from vsrm_arch.ops.triton import power_of_two_from

__all__ = ["limit", "ssm_inputs_fused"]

_TILE, _CHANNELS, _WARPS = 64, 64, 4
_MOST_RANK = 64


def limit(dtype: torch.dtype, x: Tensor, dt_weight: Tensor) -> str | None:
    """Why the kernel cannot take tokens (B, L, E) in a dtype, or None if it can."""
    if dt_weight.shape[1] > _MOST_RANK:
        return f"it takes at most {_MOST_RANK} channels of dt, not {dt_weight.shape[1]}"
    return matrix_limit(dtype, x.shape[2])


def ssm_inputs_fused(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_weight: Tensor,
    dt_weight: Tensor,
    reverse: bool,
    scan_order: ScanOrder,
    num_frames: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments and result as in :func:`vsrm_arch.ops.ssm_inputs.ssm_inputs`; the rows are float32."""
    x = x.to(working_dtype(x))
    x = x if x.stride(2) == 1 else x.contiguous()
    frames = num_frames if scan_order == "t2s" else 1
    return _forward(x, conv_weight.contiguous(), conv_bias, x_weight, dt_weight, reverse, frames)


@torch.library.custom_op("vsrm::ssm_inputs", mutates_args=())
def _forward(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_weight: Tensor,
    dt_weight: Tensor,
    reverse: bool,
    frames: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """u, delta and the other rows."""
    from vsrm_arch.ops.ssm_inputs.kernels import forward_kernel

    (batch, length, channels), rank = x.shape, dt_weight.shape[1]
    u, delta, rows = _outputs(x, x_weight, dt_weight)
    states = rows.shape[2]
    forward_kernel[(-(-batch * length // _TILE),)](
        *(x, conv_weight, conv_bias, x_weight.contiguous(), dt_weight.contiguous(), u, delta, rows),
        *(batch * length, length, length // frames, x.stride(0)),
        ROW=x.stride(1),
        E=channels,
        K=conv_weight.shape[1],
        R=rank,
        S=states,
        FRAMES=frames,
        REVERSE=reverse,
        T=_TILE,
        CHANNELS=min(_CHANNELS, max(16, power_of_two_from(channels))),
        RANK=max(16, power_of_two_from(rank)),
        ROWS=max(16, power_of_two_from(states)),
        num_warps=_WARPS,
        num_stages=1,
    )
    return u, delta, rows


def _outputs(x: Tensor, x_weight: Tensor, dt_weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, delta = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
    return u, delta, x.new_empty(*x.shape[:2], len(x_weight) - dt_weight.shape[1], dtype=torch.float32)


@_forward.register_fake
def _(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_weight: Tensor,
    dt_weight: Tensor,
    reverse: bool,
    frames: int,
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(x, x_weight, dt_weight)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.reverse, ctx.frames = inputs
    ctx.save_for_backward(*tensors, output[0])


def _autograd(ctx: Any, grad_u: Tensor, grad_delta: Tensor, grad_rows: Tensor) -> tuple[Tensor | None, ...]:
    x, conv_weight, conv_bias, x_weight, dt_weight, u = ctx.saved_tensors
    rank, dtype = dt_weight.shape[1], x.dtype
    with torch.autocast(x.device.type, enabled=False):
        W_x, W_dt, tokens = x_weight.to(dtype), dt_weight.to(dtype), u.flatten(0, 1)
        grad_delta = grad_delta.flatten(0, 1)
        grad_dt_weight = grad_delta.t() @ (tokens @ W_x[:rank].t())
        grad_projected = torch.cat((grad_delta @ W_dt, grad_rows.flatten(0, 1).to(dtype)), dim=1)
        grad_x_weight = grad_projected.t() @ tokens
        grad_u = torch.addmm(grad_u.flatten(0, 1), grad_projected, W_x).view_as(x)
        grads = convolution_gradients(grad_u, x, conv_weight, conv_bias, True, ctx.reverse, ctx.frames)
    return *grads, grad_x_weight.to(x_weight.dtype), grad_dt_weight.to(dt_weight.dtype), None, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
