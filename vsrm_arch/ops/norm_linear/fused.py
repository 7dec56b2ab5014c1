"""The fused norm and product: one Triton kernel each way, and one matrix product for the weight's gradient.

Saves its inputs only. Backward recomputes the norm of x and, where parts are normed, the product. It writes, in the
product's dtype, what that matrix product takes: the normed x, and with parts the gradient by what they are norms of.
"""

from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.matrices import MOST_CHANNELS, matrix_limit, working_dtype
from vsrm_arch.ops.triton import power_of_two_from

__all__ = ["limit", "norm_linear_fused"]

_ROWS, _COLUMNS, _WARPS = 64, 64, 4
_BACKWARD_ROWS = 64
_STAGES, _STAGES_OF_PARTS = 3, 1
_PROGRAMS = 512  # as many as a large card runs at a time, each with a summand of the vectors' gradients
# Channels → bytes that the kernels take at most, as they are compiled for compute capability 7.5 to 9.0.
_SHARED_BYTES = {MOST_CHANNELS: 180_224, MOST_CHANNELS // 2: 98_304}


def limit(dtype: torch.dtype, weight: Tensor, part_weight: Tensor | None) -> str | None:
    """Why the kernel cannot multiply by a weight (N, K) in a dtype, or None if it can."""
    most = _most_channels(weight.device)
    widest = max(weight.shape[1], 0 if part_weight is None else part_weight.shape[1])
    if widest > most:
        return f"on this device it takes at most {most} channels of a token or a part, not {widest}"
    return matrix_limit(dtype, weight.shape[1])


def _most_channels(device: torch.device) -> int:
    """As many as fit into the memory that the threads of a program share."""
    if device.type != "cuda":
        return MOST_CHANNELS
    # Of no type: PyTorch's stubs leave this property out in some releases.
    properties: Any = torch.cuda.get_device_properties(device)
    shared = properties.shared_memory_per_block_optin
    return next((channels for channels, need in _SHARED_BYTES.items() if need <= shared), 0)


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
    vectors = (norm_weight, norm_bias, bias, part_weight, part_bias)
    norm_weight, norm_bias, bias, part_weight, part_bias = (None if v is None else v.contiguous() for v in vectors)
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

    out = x.new_empty(len(x), len(weight), dtype=dtype)
    # Converted here, once instead of in every program.
    matrix = weight.to(dtype).contiguous()
    forward_kernel[(-(-len(x) // _ROWS),)](
        *(x, norm_weight, norm_bias, matrix, bias, part_weight, part_bias, out, len(x), eps),
        **_constants(weight, part_weight, _ROWS),
        num_warps=_WARPS,
        num_stages=_STAGES if part_weight is None else _STAGES_OF_PARTS,
    )
    return out


def _constants(weight: Tensor, part_weight: Tensor | None, rows: int) -> dict[str, int]:
    columns, inner = weight.shape
    span = _COLUMNS if part_weight is None else part_weight.shape[1]
    tile = {"ROWS": rows, "INNER": max(16, power_of_two_from(inner)), "COLUMNS": max(16, power_of_two_from(span))}
    return {"K": inner, "N": columns, "SPAN": span, "PARTS": part_weight is not None, **tile}


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
    return x.new_empty(x.shape[0], len(weight), dtype=dtype)


@torch.library.custom_op("vsrm::norm_linear_backward", mutates_args=())
def _backward(
    grad: Tensor,
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    part_weight: Tensor | None,
    part_bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, of the weight, and in float32, one after the other, of the vectors."""
    from vsrm_arch.ops.norm_linear.kernels import backward_kernel

    widths = _widths(norm_weight, norm_bias, bias, part_weight, part_bias)
    programs = min(-(-len(x) // _BACKWARD_ROWS), _PROGRAMS)
    constants = _constants(weight, part_weight, _BACKWARD_ROWS)
    summands = x.new_empty(programs, sum(widths), dtype=torch.float32)
    grad_x = torch.empty_like(x)
    normed = x if norm_weight is None and x.dtype == grad.dtype else torch.empty_like(x, dtype=grad.dtype)
    grad_y = grad if part_weight is None else torch.empty_like(grad)
    matrix = weight.to(grad.dtype).contiguous()
    backward_kernel[(programs,)](
        *(grad, x, norm_weight, norm_bias, matrix, bias, part_weight, grad_x, None if normed is x else normed, grad_y),
        *(*summands.split(widths, dim=1), len(x), eps),
        SUMS=sum(widths),
        **constants,
        num_warps=4 if constants["COLUMNS"] <= 128 else 8,
        num_stages=_STAGES if part_weight is None else _STAGES_OF_PARTS,
    )
    return grad_x, (grad_y.t() @ normed).to(weight.dtype), summands.sum(0)


def _widths(*vectors: Tensor | None) -> list[int]:
    return [0 if vector is None else vector.numel() for vector in vectors]


@_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    part_weight: Tensor | None,
    part_bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    widths = _widths(norm_weight, norm_bias, bias, part_weight, part_bias)
    return torch.empty_like(x), weight.new_empty(weight.shape), x.new_empty(sum(widths), dtype=torch.float32)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.eps, _ = inputs
    ctx.save_for_backward(*tensors)


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # which activation checkpointing hands out once
    _, norm_weight, norm_bias, _, *others = saved
    grad_x, grad_weight, sums = _backward(grad.contiguous(), *saved, ctx.eps)
    vectors = (norm_weight, norm_bias, *others)
    parts = sums.split(_widths(*vectors))
    of_norm_weight, of_norm_bias, *of_others = (
        None if vector is None else part.view_as(vector).to(vector.dtype)
        for vector, part in zip(vectors, parts, strict=True)
    )
    return grad_x, of_norm_weight, of_norm_bias, grad_weight, *of_others, None, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
