"""What the Triton kernels share."""

import os

import triton
import triton.language as tl

__all__ = [
    "LN2",
    "LOG2E",
    "direction",
    "load_rows",
    "load_vector",
    "norm_rows",
    "pick",
    "product",
    "softplus",
    "sum_over_channels",
    "visited_tokens",
]

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def direction(batch, REVERSE: tl.constexpr):
    """The sample that a program works on, which parameters are its own, and whether it visits the tokens backwards.

    Samples of a second direction, if there is one, follow those of the first: ``batch`` of each.
    """
    b = tl.program_id(2)
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
def load_rows(pointer, token, column, mask, ROW: tl.constexpr):
    """Rows of ``ROW`` elements, ``(tokens, columns)`` in float32; zero where masked."""
    return tl.load(pointer + token[:, None] * ROW + column[None, :], mask=mask, other=0.0).to(tl.float32)


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
    """Rows of mean zero and variance one, over the COUNT columns that are there."""
    x = tl.where(is_column[None, :], x, 0.0)
    centred = tl.where(is_column[None, :], x - (tl.sum(x, axis=1) / COUNT)[:, None], 0.0)
    return centred * tl.rsqrt(tl.sum(centred * centred, axis=1) / COUNT + eps)[:, None]


@triton.jit
def softplus(x):
    """``log(1 + exp(x))``."""
    # log(1 + e) is e times a polynomial, the best of its degree for 0 <= e <= 1: off by 2e-7 of the value at most.
    e = tl.exp2(-tl.abs(x) * LOG2E)
    p = 0.07822315 + e * (-0.029503517 + e * 0.0052322634)
    p = 0.33319095 + e * (-0.24842954 + e * (0.19105896 + e * (-0.13663010 + e * p)))
    return tl.maximum(x, 0.0) + e * (0.99999994 + e * (-0.49999493 + e * p))


@triton.jit
def pick(tile, index, t: tl.constexpr):
    """Token t of a float32 tile; ``index`` counts its first axis.

    Where a thread holds all tokens, this costs nothing: all summands but one are zeros, which the compiler removes. It
    may do so for integers only.
    """
    bits = tl.where(index == t, tile.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, axis=0).to(tl.float32, bitcast=True)


@triton.jit
def sum_over_channels(x, CHANNELS: tl.constexpr, PRECISION: tl.constexpr):
    """Sum over the second axis: a product with ones, which takes fewer instructions than exchanges between threads."""
    columns = tl.dot(x, tl.full((CHANNELS, 16), 1.0, tl.float32), input_precision=PRECISION)
    return tl.max(columns, axis=1)  # all are equal
