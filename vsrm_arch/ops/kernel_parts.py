"""What the Triton kernels share."""

import os

import triton
import triton.language as tl

__all__ = [
    "LN2",
    "LOG2E",
    "cells_of",
    "direction",
    "inside",
    "load_vector",
    "norm_rows",
    "norm_rows_backward",
    "product",
    "rates",
    "sigmoid",
    "softplus",
    "store_sums",
    "visited_tokens",
]

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def direction(b, batch, REVERSE: tl.constexpr):
    """A program's sample as 64 bits, which parameters are its own, and whether it visits the tokens backwards.

    Samples of a second direction, if there is one, follow those of the first: ``batch`` of each.
    """
    return b.to(tl.int64), b // batch, b // batch + REVERSE


@triton.jit
def visited_tokens(visit, L, frame, FRAMES: tl.constexpr, backwards):
    """Where the tokens of some visits lie, ``t * frame + s`` for frame t and position s.

    Args:
        visit: Numbers of visits; those outside of 0 to L - 1 give tokens that must not be read.
        L: Number of tokens.
        frame: Tokens a frame.
        FRAMES: All frames of a position are visited before the next position; 1 visits tokens as they lie.
        backwards: 1 if the visits begin at the end of that order, else 0.

    Returns:
        Tokens, int64.
    """
    visit += backwards * (L - 1 - 2 * visit)
    if FRAMES > 1:
        visit = (visit % FRAMES) * frame + visit // FRAMES
    return visit.to(tl.int64)


@triton.jit
def load_vector(pointer, column, mask):
    """A vector in float32; zero where masked, or where there is none."""
    if pointer is None:
        return tl.zeros(column.shape, tl.float32)
    else:
        return tl.load(pointer + column, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def product(a, b):
    """The matrix product in float32."""
    if INTERPRETED:  # the interpreter multiplies the bits of bfloat16
        return tl.dot(a.to(tl.float32), b.to(tl.float32))
    return tl.dot(a, b)


@triton.jit
def norm_rows(x, is_column, COUNT: tl.constexpr, eps):
    """Rows of mean zero and variance one, over the COUNT columns that are there, and what they were multiplied by."""
    x = tl.where(is_column[None, :], x, 0.0)
    centred = tl.where(is_column[None, :], x - (tl.sum(x, axis=1) / COUNT)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, axis=1) / COUNT + eps)
    return centred * scale[:, None], scale


@triton.jit
def norm_rows_backward(grad, normed, scale, COUNT: tl.constexpr):
    """The gradient by the rows that :func:`norm_rows` took; ``grad`` is zero where there is no column."""
    mean, along = tl.sum(grad, axis=1) / COUNT, tl.sum(grad * normed, axis=1) / COUNT
    return (grad - mean[:, None] - normed * along[:, None]) * scale[:, None]


@triton.jit
def sigmoid(x):
    """``1 / (1 + exp(-x))``."""
    # Squared, the reciprocal root takes fewer instructions than a division.
    root = tl.rsqrt(1.0 + tl.exp2(-x * LOG2E))
    return root * root


@triton.jit
def softplus(x):
    """``log(1 + exp(x))``."""
    # log(1 + e) is e times a polynomial, the best of its degree for 0 <= e <= 1: off by 7e-8 of the value at most.
    e = tl.exp2(-tl.abs(x) * LOG2E)
    p = 0.07822315 + e * (-0.029503517 + e * 0.0052322634)
    p = 0.33319095 + e * (-0.24842954 + e * (0.19105896 + e * (-0.13663010 + e * p)))
    return tl.maximum(x, 0.0) + e * (0.99999994 + e * (-0.49999493 + e * p))


@triton.jit
def inside(index, size: tl.constexpr, block: tl.constexpr):
    """Whether an element is there; the compiler sees that all of them are where blocks divide the size."""
    if size % block == 0:
        return tl.full(index.shape, 1, tl.int1)
    else:
        return index < size


@triton.jit
def cells_of(pointer, offsets):
    """Addresses of ``(STATES, CHANNELS)``, of which a thread is to take those of one channel.

    For the sake of wider loads the compiler would have it take several neighbours, and then values would move between
    threads at every token. So it is told that neighbours lie side by side, which settles the order of the axes, but
    none aligned to more than an element, which leaves one to a thread.
    """
    size: tl.constexpr = pointer.dtype.element_ty.primitive_bitwidth // 8
    return tl.multiple_of(tl.max_contiguous(pointer + offsets, (1, 32)), (size, size))


@triton.jit
def rates(A, e, n, is_channel, is_state, N: tl.constexpr):
    """A times log2(e), ``(STATES, CHANNELS)``."""
    is_cell = is_state[:, None] & is_channel[None, :]
    return tl.load(cells_of(A, e[None, :] * N + n[:, None]), mask=is_cell, other=0.0) * LOG2E


@triton.jit
def store_sums(pointer, cells, mask, PRECISION: tl.constexpr, CHANNELS: tl.constexpr):
    """Stores the sums of ``(STATES, CHANNELS)`` over the channels.

    A matrix product with ones, whose 16 rows are equal, takes fewer instructions than exchanges between threads. A
    thread has the states of a channel, and so hands over rows of the transposed cells.
    """
    if PRECISION == "bf16":
        # Made in float32: the interpreter of some versions of Triton knows no constant of bfloat16.
        ones = tl.full((16, CHANNELS), 1.0, tl.float32).to(tl.bfloat16)
        sums = product(ones, tl.trans(cells.to(tl.bfloat16)))
    else:
        sums = tl.dot(tl.full((16, CHANNELS), 1.0, tl.float32), tl.trans(cells), input_precision=PRECISION)
    row = tl.arange(0, 16)[:, None]
    tl.store(pointer[None, :] + 0 * row, sums.to(pointer.dtype.element_ty), mask=mask[None, :] & (row == 0))
