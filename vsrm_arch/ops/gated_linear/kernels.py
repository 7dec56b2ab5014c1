"""The kernel of the fused gated product. A program takes some tokens and all of their channels."""

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
    m, k = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, INNER)
    is_row, is_inner = m < M, k < K
    mask = is_row[:, None] & is_inner[None, :]
    rows = tl.load(x + m[:, None] * X_ROW + k[None, :], mask=mask, other=0.0).to(tl.float32)
    if other is not None:
        rows += tl.load(other + m[:, None] * OTHER_ROW + k[None, :], mask=mask, other=0.0).to(tl.float32)
    if gate is not None:
        z = tl.load(gate + m[:, None] * GATE_ROW + k[None, :], mask=mask, other=0.0).to(tl.float32)
        rows *= z * tl.sigmoid(z)
    rows = rows.to(DTYPE)
    for first in range(0, N, COLUMNS):
        n = first + tl.arange(0, COLUMNS)
        is_column = n < N
        matrix_mask = is_inner[:, None] & is_column[None, :]
        matrix = tl.load(weight + n[None, :] * K + k[:, None], mask=matrix_mask, other=0.0).to(DTYPE)
        y = product(rows, matrix)
        if bias is not None:
            y += load_vector(bias, n, is_column)[None, :]
        cells, mask = m[:, None] * N + n[None, :], is_row[:, None] & is_column[None, :]
        if residual is not None:
            y += tl.load(residual + cells, mask=mask, other=0.0).to(tl.float32)
        tl.store(out + cells, y.to(out.dtype.element_ty), mask=mask)
