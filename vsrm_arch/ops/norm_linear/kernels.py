"""The kernel of the fused norm and product. A program takes some tokens and all of their channels."""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import load_vector, norm_rows, product

__all__ = ["forward_kernel"]


@triton.jit
def forward_kernel(
    x, norm_weight, norm_bias, weight, bias, part_weight, part_bias, out, M, eps,
    K: tl.constexpr, N: tl.constexpr, SPAN: tl.constexpr, PARTS: tl.constexpr,
    ROWS: tl.constexpr, INNER: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The output ``(M, N)``, SPAN columns at a time: with PARTS, those of a norm."""
    m, k = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, INNER)
    is_row, is_inner = m < M, k < K
    rows = tl.load(x + m[:, None] * K + k[None, :], mask=is_row[:, None] & is_inner[None, :], other=0.0).to(tl.float32)
    if norm_weight is not None:
        rows = norm_rows(rows, is_inner, K, eps)
        rows = rows * load_vector(norm_weight, k, is_inner)[None, :] + load_vector(norm_bias, k, is_inner)[None, :]
    rows = rows.to(out.dtype.element_ty)
    column = tl.arange(0, COLUMNS)
    for first in range(0, N, SPAN):
        n = first + column
        is_column = (column < SPAN) & (n < N)
        mask = is_inner[:, None] & is_column[None, :]
        matrix = tl.load(weight + n[None, :] * K + k[:, None], mask=mask, other=0.0).to(out.dtype.element_ty)
        y = product(rows, matrix)
        if bias is not None:
            y += load_vector(bias, n, is_column)[None, :]
        if PARTS:
            y = norm_rows(y, is_column, SPAN, eps)
            y = y * load_vector(part_weight, n, is_column)[None, :] + load_vector(part_bias, n, is_column)[None, :]
        cells = out + m[:, None] * N + n[None, :]
        tl.store(cells, y.to(out.dtype.element_ty), mask=is_row[:, None] & is_column[None, :])
