"""The fused gated product: one Triton kernel each way, and one matrix product for the weight's gradient.

Saves its inputs only, the residual not among them. Backward recomputes the gated sum. It writes this and the output's
gradient in the product's dtype, for that matrix product, unless what is given will do.
"""

from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.matrices import working_dtype
from vsrm_arch.ops.triton import power_of_two_from

__all__ = ["gated_linear_fused"]

_ROWS, _INNER, _COLUMNS, _WARPS, _STAGES = 64, 32, 128, 4, 3
_BACKWARD_ROWS, _BACKWARD_INNER, _BACKWARD_COLUMNS, _BACKWARD_STAGES = 32, 64, 64, 2


def gated_linear_fused(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, other: Tensor | None, gate: Tensor | None
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.gated_linear.gated_linear`."""
    tokens, other, gate = (None if t is None else _tokens(t) for t in (x, other, gate))
    rows = None if residual is None else residual.reshape(-1, len(weight))
    bias = None if bias is None else bias.contiguous()
    out = _forward(tokens, weight, bias, rows, other, gate, working_dtype(x))
    return out.view(*x.shape[:-1], len(weight))


def _tokens(x: Tensor) -> Tensor:
    """As (M, K), whose rows may lie apart."""
    rows = x.flatten(0, -2) if x.dim() > 1 else x[None]
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
        **_shape(x, other, gate, weight),
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


def _shape(x: Tensor, other: Tensor | None, gate: Tensor | None, weight: Tensor) -> dict[str, int]:
    rows = {"X_ROW": x, "OTHER_ROW": other, "GATE_ROW": gate}
    strides = {name: 0 if t is None else t.stride(0) for name, t in rows.items()}
    return {**strides, "K": weight.shape[1], "N": weight.shape[0]}


def _output(x: Tensor, weight: Tensor, residual: Tensor | None, dtype: torch.dtype) -> Tensor:
    return x.new_empty(x.shape[0], len(weight), dtype=dtype if residual is None else residual.dtype)


@torch.library.custom_op("vsrm::gated_linear_backward", mutates_args=())
def _backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    other: Tensor | None,
    gate: Tensor | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, the weight, in float32 the bias, and the gate; empty for what is not given."""
    from vsrm_arch.ops.gated_linear.kernels import backward_kernel

    (tokens, inner), columns = x.shape, len(weight)
    blocks, wide = -(-tokens // _BACKWARD_ROWS), min(_BACKWARD_INNER, max(16, power_of_two_from(inner)))
    grad_x, grad_gate = _gradient(x), x.new_empty(0) if gate is None else _gradient(gate)
    is_gated = other is None and gate is None and x.dtype == dtype
    gated = x if is_gated else x.new_empty(x.shape, dtype=dtype)
    grad_y = grad if grad.dtype == dtype else torch.empty_like(grad, dtype=dtype)
    summands = x.new_empty(blocks, 0 if bias is None else columns, dtype=torch.float32)
    # Converted here, once instead of in every program.
    matrix = weight.to(dtype).contiguous()
    backward_kernel[(blocks, -(-inner // wide))](
        *(grad, x, other, gate, matrix, grad_x, grad_gate, None if gated is x else gated),
        *(None if grad_y is grad else grad_y, None if bias is None else summands, tokens),
        **_shape(x, other, gate, weight),
        ROWS=_BACKWARD_ROWS,
        INNER=wide,
        COLUMNS=min(_BACKWARD_COLUMNS, max(16, power_of_two_from(columns))),
        num_warps=_WARPS,
        num_stages=_BACKWARD_STAGES,
    )
    return grad_x, (grad_y.t() @ gated).to(weight.dtype), summands.sum(0), grad_gate


@_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    other: Tensor | None,
    gate: Tensor | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_bias = x.new_empty(0 if bias is None else len(bias), dtype=torch.float32)
    return _gradient(x), _gradient(weight), grad_bias, x.new_empty(0) if gate is None else _gradient(gate)


def _gradient(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, residual, other, gate, ctx.dtype = inputs
    ctx.has_residual = residual is not None
    ctx.save_for_backward(x, weight, bias, other, gate)


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # which activation checkpointing hands out once
    _, _, bias, other, gate = saved
    grad_x, grad_weight, grad_bias, grad_gate = _backward(grad.contiguous(), *saved, ctx.dtype)
    return (
        grad_x,
        grad_weight,
        None if bias is None else grad_bias.to(bias.dtype),
        grad if ctx.has_residual else None,
        None if other is None else grad_x.to(other.dtype),
        None if gate is None else grad_gate,
        None,
    )


_forward.register_autograd(_autograd, setup_context=_setup_context)
