"""The kernel of the fused gated product. A program takes some tokens and some columns."""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import load_vector, product

__all__ = ["forward_kernel"]


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
            rows *= z * tl.sigmoid(z)
        is_weight = (k < K)[:, None] & is_column[None, :]
        matrix = tl.load(weight + n[None, :] * K + k[:, None], mask=is_weight, other=0.0)
        y += product(rows.to(DTYPE), matrix.to(DTYPE))
    if bias is not None:
        y += load_vector(bias, n, is_column)[None, :]
    cells, is_cell = m[:, None] * N + n[None, :], is_row[:, None] & is_column[None, :]
    if residual is not None:
        y += tl.load(residual + cells, mask=is_cell, other=0.0).to(tl.float32)
    tl.store(out + cells, y.to(out.dtype.element_ty), mask=is_cell)
