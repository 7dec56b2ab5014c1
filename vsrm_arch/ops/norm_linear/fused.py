"""The fused norm and product: one Triton kernel forward; backward saves the inputs only and recomputes with PyTorch."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrm_arch.ops.matrices import matrix_limit, working_dtype
from vsrm_arch.ops.triton import power_of_two_from

__all__ = ["limit", "norm_linear_fused"]

_ROWS, _COLUMNS, _WARPS, _STAGES = 64, 64, 4, 1
_MOST_PART = 256


def limit(dtype: torch.dtype, weight: Tensor, part_weight: Tensor | None) -> str | None:
    """Why the kernel cannot multiply by a weight (N, K) in a dtype, or None if it can."""
    if part_weight is not None and part_weight.shape[1] > _MOST_PART:
        return f"it takes parts of at most {_MOST_PART} channels, not {part_weight.shape[1]}"
    return matrix_limit(dtype, weight.shape[1])


def norm_linear_fused(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    part_weight: Tensor | None,
    part_bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.norm_linear.norm_linear`."""
    tokens = x.reshape(-1, x.shape[-1]).contiguous()
    y = _forward(tokens, norm_weight, norm_bias, weight, bias, part_weight, part_bias, eps, working_dtype(x))
    return y.view(*x.shape[:-1], len(weight))


@torch.library.custom_op("vsrm::norm_linear", mutates_args=())
def _forward(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    part_weight: Tensor | None,
    part_bias: Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> Tensor:
    from vsrm_arch.ops.norm_linear.kernels import forward_kernel

    (tokens, inner), columns = x.shape, len(weight)
    span = _COLUMNS if part_weight is None else part_weight.shape[1]
    out = x.new_empty(tokens, columns, dtype=dtype)
    forward_kernel[(-(-tokens // _ROWS),)](
        *(x, norm_weight, norm_bias, weight.contiguous(), bias, part_weight, part_bias, out, tokens, eps),
        K=inner,
        N=columns,
        SPAN=span,
        PARTS=part_weight is not None,
        ROWS=_ROWS,
        INNER=max(16, power_of_two_from(inner)),
        COLUMNS=max(16, power_of_two_from(span)),
        num_warps=_WARPS,
        num_stages=_STAGES,
    )
    return out


@_forward.register_fake
def _(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    part_weight: Tensor | None,
    part_bias: Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> Tensor:
    return x.new_empty(len(x), len(weight), dtype=dtype)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.eps, ctx.dtype = inputs
    ctx.save_for_backward(*tensors)


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, norm_weight, norm_bias, weight, bias, part_weight, _ = ctx.saved_tensors
    matrix, normed = weight.to(ctx.dtype), x
    with torch.autocast(x.device.type, enabled=False):
        if norm_weight is not None:
            gamma, beta = norm_weight.float(), norm_bias.float()
            normed, mean, rstd = torch.native_layer_norm(x.float(), [x.shape[1]], gamma, beta, ctx.eps)
        normed = normed.to(ctx.dtype)
        grad_part_weight = grad_part_bias = None
        if part_weight is not None:
            y = F.linear(normed, matrix, None if bias is None else bias.to(ctx.dtype)).unflatten(1, part_weight.shape)
            y = y.float()
            grad = grad.float().unflatten(1, part_weight.shape)
            standard, part_mean, part_rstd = torch.native_layer_norm(y, y.shape[2:], None, None, ctx.eps)
            grad_part_weight, grad_part_bias = (grad * standard).sum(0), grad.sum(0)
            grad, _, _ = torch.ops.aten.native_layer_norm_backward(
                grad * part_weight, y, y.shape[2:], part_mean, part_rstd, None, None, [True, False, False]
            )
            grad = grad.flatten(1).to(ctx.dtype)
        grad_weight = grad.t() @ normed
        grad_bias = None if bias is None else grad.sum(0, dtype=torch.float32).to(bias.dtype)
        grad_x, grad_norm_weight, grad_norm_bias = grad @ matrix, None, None
        if norm_weight is not None:
            grad_x, grad_norm_weight, grad_norm_bias = torch.ops.aten.native_layer_norm_backward(
                grad_x.float(), x.float(), [x.shape[1]], mean, rstd, gamma, beta, [True, True, True]
            )
    grads = (grad_x.to(x.dtype), grad_norm_weight, grad_norm_bias, grad_weight.to(weight.dtype), grad_bias)
    return *grads, grad_part_weight, grad_part_bias, None, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
