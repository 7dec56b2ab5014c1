"""The fused gated product: one Triton kernel forward; backward saves the inputs only and recomputes with PyTorch."""

from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.matrices import working_dtype
from vsrm_arch.ops.triton import power_of_two_from

__all__ = ["gated_linear_fused"]

_ROWS, _INNER, _COLUMNS, _WARPS, _STAGES = 64, 32, 128, 4, 3


def gated_linear_fused(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, other: Tensor | None, gate: Tensor | None
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.gated_linear.gated_linear`."""
    tokens, other, gate = (None if t is None else _tokens(t) for t in (x, other, gate))
    rows = None if residual is None else residual.reshape(-1, len(weight))
    out = _forward(tokens, weight, bias, rows, other, gate, working_dtype(x))
    return out.view(*x.shape[:-1], len(weight))


def _tokens(x: Tensor) -> Tensor:
    """As (M, K), whose rows may lie apart."""
    rows = x.flatten(0, -2)
    return rows if rows.stride(1) == 1 else rows.contiguous()


@torch.library.custom_op("vsrm::gated_linear", mutates_args=())
def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    other: Tensor | None,
    gate: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    import triton.language as tl

    from vsrm_arch.ops.gated_linear.kernels import forward_kernel

    (tokens, inner), columns = x.shape, len(weight)
    residual = None if residual is None else residual.contiguous()
    out = _output(x, weight, residual, dtype)
    wide = min(_COLUMNS, max(16, power_of_two_from(columns)))
    forward_kernel[(-(-tokens // _ROWS), -(-columns // wide))](
        *(x, other, gate, weight.contiguous(), bias, residual, out, tokens),
        X_ROW=x.stride(0),
        OTHER_ROW=0 if other is None else other.stride(0),
        GATE_ROW=0 if gate is None else gate.stride(0),
        K=inner,
        N=columns,
        DTYPE=tl.bfloat16 if dtype == torch.bfloat16 else tl.float16,
        ROWS=_ROWS,
        INNER=min(_INNER, max(16, power_of_two_from(inner))),
        COLUMNS=wide,
        num_warps=_WARPS,
        num_stages=_STAGES,
    )
    return out


@_forward.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    other: Tensor | None,
    gate: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    return _output(x, weight, residual, dtype)


def _output(x: Tensor, weight: Tensor, residual: Tensor | None, dtype: torch.dtype) -> Tensor:
    return x.new_empty(len(x), len(weight), dtype=dtype if residual is None else residual.dtype)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, residual, other, gate, ctx.dtype = inputs
    ctx.has_residual = residual is not None
    ctx.save_for_backward(x, weight, bias, other, gate)


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias, other, gate = ctx.saved_tensors
    with torch.autocast(x.device.type, enabled=False):
        summed = x.float() if other is None else x.float() + other.float()
        z = None if gate is None else gate.float()
        gated = summed if z is None else summed * torch.nn.functional.silu(z)
        grad_y = grad.to(ctx.dtype)
        grad_weight = grad_y.t() @ gated.to(ctx.dtype)
        grad_bias = None if bias is None else grad_y.sum(0, dtype=torch.float32).to(bias.dtype)
        grad_x = (grad_y @ weight.to(ctx.dtype)).float()
        grad_gate = None
        if z is not None:
            grad_gate = torch.ops.aten.silu_backward(grad_x * summed, z).to(gate.dtype)
            grad_x = grad_x * torch.nn.functional.silu(z)
    grad_other = None if other is None else grad_x.to(other.dtype)
    grad_residual = grad if ctx.has_residual else None
    return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias, grad_residual, grad_other, grad_gate, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
