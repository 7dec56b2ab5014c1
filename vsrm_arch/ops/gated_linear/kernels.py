"""The kernels of the fused gated product. A program takes some tokens and some columns of its result."""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import load_vector, product, sigmoid

__all__ = ["backward_kernel", "forward_kernel"]


@triton.jit
def forward_kernel(
    x, other, gate, weight, bias, residual, out, M,
    X_ROW: tl.constexpr, OTHER_ROW: tl.constexpr, GATE_ROW: tl.constexpr, K: tl.constexpr, N: tl.constexpr,
    DTYPE: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The output ``(M, N)``."""
    m = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    n = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_row, is_column = m < M, n < N
    y = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, K, INNER):
        k = first + tl.arange(0, INNER)
        mask = is_row[:, None] & (k < K)[None, :]
        rows = tl.load(x + m[:, None] * X_ROW + k[None, :], mask=mask, other=0.0).to(tl.float32)
        if other is not None:
            rows += tl.load(other + m[:, None] * OTHER_ROW + k[None, :], mask=mask, other=0.0).to(tl.float32)
        if gate is not None:
            z = tl.load(gate + m[:, None] * GATE_ROW + k[None, :], mask=mask, other=0.0).to(tl.float32)
            rows *= z * sigmoid(z)
        is_weight = (k < K)[:, None] & is_column[None, :]
        matrix = tl.load(weight + n[None, :] * K + k[:, None], mask=is_weight, other=0.0)
        y += product(rows.to(DTYPE), matrix.to(DTYPE))
    if bias is not None:
        y += load_vector(bias, n, is_column)[None, :]
    cells, is_cell = m[:, None] * N + n[None, :], is_row[:, None] & is_column[None, :]
    if residual is not None:
        y += tl.load(residual + cells, mask=is_cell, other=0.0).to(tl.float32)
    tl.store(out + cells, y.to(out.dtype.element_ty), mask=is_cell)


@triton.jit
def backward_kernel(
    grad, x, other, gate, weight, grad_x, grad_gate, gated, grad_y, grad_bias, M,
    X_ROW: tl.constexpr, OTHER_ROW: tl.constexpr, GATE_ROW: tl.constexpr, K: tl.constexpr, N: tl.constexpr,
    ROWS: tl.constexpr, INNER: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradients by x and the gate ``(M, K)``, and what the other gradients are made of.

    The weight's is ``grad_y^T gated``, of ``grad`` and the gated sum in the weight's dtype; the bias's is the sum of
    ``grad_bias``, a row for each block of tokens.
    """
    m = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    k = tl.program_id(1) * INNER + tl.arange(0, INNER)
    is_row, is_inner = m < M, k < K
    # What is the same for all channels is written by the first programs alone.
    written = tl.where(tl.program_id(1) == 0, N, 0)
    grad_gated = tl.zeros((ROWS, INNER), tl.float32)
    for first in range(0, N, COLUMNS):
        n = first + tl.arange(0, COLUMNS)
        cells, is_column = m[:, None] * N + n[None, :], n < N
        g = tl.load(grad + cells, mask=is_row[:, None] & is_column[None, :], other=0.0).to(weight.dtype.element_ty)
        is_weight = is_column[:, None] & is_inner[None, :]
        grad_gated += product(g, tl.load(weight + n[:, None] * K + k[None, :], mask=is_weight, other=0.0))
        if grad_y is not None:
            tl.store(grad_y + cells, g, mask=is_row[:, None] & (n < written)[None, :])
        if grad_bias is not None:
            total = tl.sum(g.to(tl.float32), axis=0)
            tl.store(grad_bias + tl.program_id(0).to(tl.int64) * N + n, total, mask=n < written)
    mask, cells = is_row[:, None] & is_inner[None, :], m[:, None] * K + k[None, :]
    if gated is not None:
        rows = tl.load(x + m[:, None] * X_ROW + k[None, :], mask=mask, other=0.0).to(tl.float32)
        if other is not None:
            rows += tl.load(other + m[:, None] * OTHER_ROW + k[None, :], mask=mask, other=0.0).to(tl.float32)
        if gate is not None:
            z = tl.load(gate + m[:, None] * GATE_ROW + k[None, :], mask=mask, other=0.0).to(tl.float32)
            share = sigmoid(z)
            slope = share * (1.0 + z * (1.0 - share))
            tl.store(grad_gate + cells, (grad_gated * rows * slope).to(grad_gate.dtype.element_ty), mask=mask)
            rows *= z * share
            grad_gated *= z * share
        tl.store(gated + cells, rows.to(gated.dtype.element_ty), mask=mask)
    tl.store(grad_x + cells, grad_gated.to(grad_x.dtype.element_ty), mask=mask)
