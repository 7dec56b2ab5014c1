"""The kernels of the fused norm and product. A program takes some tokens and all of their channels."""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import load_vector, norm_rows, norm_rows_backward, product

__all__ = ["backward_kernel", "forward_kernel"]


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
        rows, _ = norm_rows(rows, is_inner, K, eps)
        rows = rows * load_vector(norm_weight, k, is_inner)[None, :] + load_vector(norm_bias, k, is_inner)[None, :]
    rows = rows.to(out.dtype.element_ty)
    column = tl.arange(0, COLUMNS)
    for first in range(0, N, SPAN):
        n = first + column
        is_column = (column < SPAN) & (n < N)
        mask = is_inner[:, None] & is_column[None, :]
        matrix = tl.load(weight + n[None, :] * K + k[:, None], mask=mask, other=0.0)
        y = product(rows, matrix)
        if bias is not None:
            y += load_vector(bias, n, is_column)[None, :]
        if PARTS:
            y, _ = norm_rows(y, is_column, SPAN, eps)
            y = y * load_vector(part_weight, n, is_column)[None, :] + load_vector(part_bias, n, is_column)[None, :]
        cells = out + m[:, None] * N + n[None, :]
        tl.store(cells, y.to(out.dtype.element_ty), mask=is_row[:, None] & is_column[None, :])


@triton.jit
def _add_rows(tile, sums, column, is_column, is_more):
    """Adds the sum of a tile's rows to what the program has there from its tiles before, if there were any."""
    before = tl.load(sums + column, mask=is_column, other=0.0)
    tl.store(sums + column, tl.where(is_more, before, 0.0) + tl.sum(tile.to(tl.float32), axis=0), mask=is_column)


@triton.jit
def backward_kernel(
    grad, x, norm_weight, norm_bias, weight, bias, part_weight,
    grad_x, normed, grad_y, grad_norm_weight, grad_norm_bias, grad_bias, grad_part_weight, grad_part_bias, M, eps,
    SUMS: tl.constexpr, K: tl.constexpr, N: tl.constexpr, SPAN: tl.constexpr, PARTS: tl.constexpr,
    ROWS: tl.constexpr, INNER: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient by x ``(M, K)``, and what the other gradients are made of.

    The weight's is ``grad_y^T normed``, with the gradient by the product, ``(M, N)``, which without PARTS is ``grad``.
    Those of the vectors are sums over the programs, each of which has a row of SUMS for all of them.
    """
    program, programs = tl.program_id(0), tl.num_programs(0)
    own, k, column = program * SUMS, tl.arange(0, INNER), tl.arange(0, COLUMNS)
    is_inner = k < K
    for block in range(program, tl.cdiv(M, ROWS), programs):
        # Sums that other threads of the program have written are read below.
        tl.debug_barrier()
        is_more = block > program
        m = block * ROWS + tl.arange(0, ROWS).to(tl.int64)
        is_row = m < M
        tokens, is_token = m[:, None] * K + k[None, :], is_row[:, None] & is_inner[None, :]
        rows = tl.load(x + tokens, mask=is_token, other=0.0).to(tl.float32)
        if norm_weight is not None:
            rows, _ = norm_rows(rows, is_inner, K, eps)
            rows = rows * load_vector(norm_weight, k, is_inner)[None, :] + load_vector(norm_bias, k, is_inner)[None, :]
        rows = rows.to(grad.dtype.element_ty)
        if normed is not None:
            tl.store(normed + tokens, rows, mask=is_token)
        grad_rows = tl.zeros((ROWS, INNER), tl.float32)
        for first in range(0, N, SPAN):
            n = first + column
            is_column = (column < SPAN) & (n < N)
            cells, is_cell = m[:, None] * N + n[None, :], is_row[:, None] & is_column[None, :]
            is_weight = is_column[:, None] & is_inner[None, :]
            matrix = tl.load(weight + n[:, None] * K + k[None, :], mask=is_weight, other=0.0)
            g = tl.load(grad + cells, mask=is_cell, other=0.0)
            if PARTS:
                y = product(rows, tl.trans(matrix)) + load_vector(bias, n, is_column)[None, :]
                y, scale = norm_rows(y, is_column, SPAN, eps)
                _add_rows(g * y, grad_part_weight + own, n, is_column, is_more)
                _add_rows(g, grad_part_bias + own, n, is_column, is_more)
                g = norm_rows_backward(g * load_vector(part_weight, n, is_column)[None, :], y, scale, SPAN)
                g = g.to(grad.dtype.element_ty)
                tl.store(grad_y + cells, g, mask=is_cell)
            if bias is not None:
                _add_rows(g, grad_bias + own, n, is_column, is_more)
            grad_rows += product(g, matrix)
        if norm_weight is not None:
            # Read again: held all along, it would take the registers of the loop above.
            standard, scale = norm_rows(tl.load(x + tokens, mask=is_token, other=0.0).to(tl.float32), is_inner, K, eps)
            _add_rows(grad_rows * standard, grad_norm_weight + own, k, is_inner, is_more)
            _add_rows(grad_rows, grad_norm_bias + own, k, is_inner, is_more)
            grad_rows *= load_vector(norm_weight, k, is_inner)[None, :]
            grad_rows = norm_rows_backward(grad_rows, standard, scale, K)
        tl.store(grad_x + tokens, grad_rows.to(grad_x.dtype.element_ty), mask=is_token)
