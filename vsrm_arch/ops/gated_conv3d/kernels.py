"""The kernels of the fused gated convolution. A thread takes a channel and walks down some columns of some frames.

It keeps in registers what it uses again: the taps, and the sums of the rows that look at the row it reads. A tuple is a
row: a value for each frame and column, those of a frame side by side. ``EDGE`` is 1 if a thread's frames are only some
of the clip's, so that it reads the one before and the one after as well, else 0.
"""

import triton
import triton.language as tl

__all__ = ["COLUMNS", "THREADS", "convolution_backward_kernel", "gated_kernel"]

COLUMNS = tl.constexpr(2)
THREADS = tl.constexpr(128)


@triton.jit
def _strip(T, H, W, strips, C: tl.constexpr, FRAMES: tl.constexpr, ROWS: tl.constexpr):
    """A program's part: its number, its first row and the one after the last; its threads' place.

    The place is the token in row 0 of the first frame and column, that frame, that column, the channel, T, H and W.
    """
    blocks = tl.cdiv(tl.cdiv(W, COLUMNS) * C, THREADS)
    part, thread = tl.program_id(0) // blocks, tl.program_id(0) % blocks * THREADS + tl.arange(0, THREADS)
    first, chunk, chunks = part % strips * ROWS, part // strips, tl.cdiv(T, FRAMES)
    t, w = chunk % chunks * FRAMES, thread // C * COLUMNS
    token = ((chunk // chunks).to(tl.int64) * T + t) * H * W + w
    return part, first, tl.minimum(first + ROWS, H), (token, t, w, thread % C, T, H, W)


@triton.jit
def _cells(place, h, is_row, k: tl.constexpr, j: tl.constexpr, ROW: tl.constexpr, EDGE: tl.constexpr):
    """Where row h lies in the frame and column that are k and j after the first, and whether it does."""
    token, t, w, e, T, H, W = place
    if EDGE:
        is_row = is_row & (t + k >= 0) & (t + k < T)
    # As an unsigned number, a column before the first is a large one.
    mask = (w + j).to(tl.uint32, bitcast=True) < tl.where(is_row, W, 0).to(tl.uint32, bitcast=True)
    return (token + (H.to(tl.int64) * k + h) * W + j) * ROW + e, mask


@triton.jit
def _load_row(x, place, h, is_row, AROUND: tl.constexpr, ROW: tl.constexpr, FRAMES: tl.constexpr, EDGE: tl.constexpr):
    """Row h in float32, zero outside of the clip; ``AROUND`` = 1 includes the neighbouring frames and columns."""
    row = ()
    for k in tl.static_range(-EDGE * AROUND, FRAMES + EDGE * AROUND):
        for j in tl.static_range(-AROUND, COLUMNS + AROUND):
            cells, mask = _cells(place, h, is_row, k, j, ROW, EDGE)
            row += (tl.load(x + cells, mask=mask, other=0.0).to(tl.float32),)
    return row


@triton.jit
def _store_row(x, place, h, row, C: tl.constexpr, FRAMES: tl.constexpr, EDGE: tl.constexpr):
    """Writes what :func:`_load_row` reads with ``AROUND`` = 0."""
    for k in tl.static_range(FRAMES):
        for j in tl.static_range(COLUMNS):
            cells, mask = _cells(place, h, True, k, j, C, EDGE)
            tl.store(x + cells, row[k * COLUMNS + j].to(x.dtype.element_ty), mask=mask)


@triton.jit
def _load_taps(taps, e, C: tl.constexpr, FLIP: tl.constexpr):
    """The 27 taps of each channel in float32, by (row, frame, column)."""
    loaded = ()
    for i in tl.static_range(27):
        loaded += (tl.load(taps + (26 - i if FLIP else i) * C + e).to(tl.float32),)
    return loaded


@triton.jit
def _convolve(sums, row, taps, FRAMES: tl.constexpr, EDGE: tl.constexpr):
    """Adds to the sums of a row what the nine taps for another row see there."""
    result = ()
    for k in tl.static_range(EDGE, FRAMES + EDGE):
        for j in tl.static_range(COLUMNS):
            total = sums[(k - EDGE) * COLUMNS + j]
            for seen in tl.static_range(FRAMES + 2 * EDGE):
                for dw in tl.static_range(3):
                    if seen - k >= -1 and seen - k <= 1:
                        total += row[seen * (COLUMNS + 2) + j + dw] * taps[3 * (seen - k + 1) + dw]
            result += (total,)
    return result


@triton.jit
def _correlate(sums, row, x, FRAMES: tl.constexpr, EDGE: tl.constexpr):
    """Adds to the sums of nine taps what makes :func:`_convolve` the sum of their products with x."""
    result = ()
    for dt in tl.static_range(-1, 2):
        for dw in tl.static_range(3):
            total = sums[3 * (dt + 1) + dw]
            for k in tl.static_range(FRAMES):
                for j in tl.static_range(COLUMNS):
                    if k + dt + EDGE >= 0 and k + dt < FRAMES + EDGE:
                        total += row[(k + dt + EDGE) * (COLUMNS + 2) + j + dw] * x[k * COLUMNS + j]
            result += (total,)
    return result


@triton.jit
def _normal_tail(x):
    """The share of the normal distribution below ``-|x|``."""
    # Two to a polynomial, the best of its degree: off by 5e-8 at most.
    a = tl.abs(x)
    p = -1.5710202e-4 + a * (3.3067750e-5 - a * 2.2933799e-6)
    p = -0.45918969 + a * (-0.052553433 + a * (0.0071490459 + a * (-2.0485968e-4 + a * p)))
    return tl.exp2(-0.99999994 + a * (-1.1511075 + a * p))


@triton.jit
def gated_kernel(
    value, gate, value_taps, value_bias, gate_taps, gate_bias, grad_out, out, grad_gate, T, H, W, strips,
    VALUE_ROW: tl.constexpr, GATE_ROW: tl.constexpr, BACKWARD: tl.constexpr,
    C: tl.constexpr, ROWS: tl.constexpr, FRAMES: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """The output ``(B, T, H, W, C)``; or BACKWARD, the gradients of both convolutions in ``out`` and ``grad_gate``."""
    _, first, end, place = _strip(T, H, W, strips, C, FRAMES, ROWS)
    e = place[3]
    v_taps, g_taps = _load_taps(value_taps, e, C, False), _load_taps(gate_taps, e, C, False)
    v_start = (tl.load(value_bias + e).to(tl.float32),) * (FRAMES * COLUMNS)
    g_start = (tl.load(gate_bias + e).to(tl.float32),) * (FRAMES * COLUMNS)
    v_above, v_centre, g_above, g_centre = v_start, v_start, g_start, g_start
    for h in range(first - 1, end + 1):
        is_row = (h >= 0) & (h < H)
        v = _load_row(value, place, h, is_row, 1, VALUE_ROW, FRAMES, EDGE)
        g = _load_row(gate, place, h, is_row, 1, GATE_ROW, FRAMES, EDGE)
        if h > first:
            v_above = _convolve(v_above, v, v_taps[18:], FRAMES, EDGE)
            g_above = _convolve(g_above, g, g_taps[18:], FRAMES, EDGE)
            outs, grads = (), ()
            if BACKWARD:
                grad = _load_row(grad_out, place, h - 1, True, 0, C, FRAMES, EDGE)
            for i in tl.static_range(FRAMES * COLUMNS):
                y = g_above[i]
                tail = _normal_tail(y)
                gelu = tl.maximum(y, 0.0) - tl.abs(y) * tail
                if BACKWARD:
                    slope = tl.where(y < 0, tail, 1.0 - tail) + y * tl.exp2(-0.72134752 * y * y) * 0.39894228
                    outs += (grad[i] * gelu,)
                    grads += (grad[i] * v_above[i] * slope,)
                else:
                    outs += (v_above[i] * gelu,)
            _store_row(out, place, h - 1, outs, C, FRAMES, EDGE)
            if BACKWARD:
                _store_row(grad_gate, place, h - 1, grads, C, FRAMES, EDGE)
        v_above = _convolve(v_centre, v, v_taps[9:18], FRAMES, EDGE)
        g_above = _convolve(g_centre, g, g_taps[9:18], FRAMES, EDGE)
        v_centre = _convolve(v_start, v, v_taps[:9], FRAMES, EDGE)
        g_centre = _convolve(g_start, g, g_taps[:9], FRAMES, EDGE)


@triton.jit
def convolution_backward_kernel(
    x, taps, grad, grad_x, sums, T, H, W, strips,
    ROW: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr, FRAMES: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """The gradient of x, and summands of those of the 27 taps and the bias, ``(parts, W / COLUMNS, 28, C)``."""
    part, first, end, place = _strip(T, H, W, strips, C, FRAMES, ROWS)
    w, e = place[2], place[3]
    # What a tap takes from one side, its gradient brings back to the other.
    mirrored = _load_taps(taps, e, C, True)
    zero = tl.zeros((THREADS,), tl.float32)
    zeros = (zero,) * (FRAMES * COLUMNS)
    above, centre, x_centre = zeros, zeros, zeros
    # Zeros of its own: the compiler takes what a loop hands from name to name for unchanged if both begin as the same.
    x_above = (tl.zeros((THREADS,), tl.float32),) * (FRAMES * COLUMNS)
    grad_taps, grad_bias = (zero,) * 27, zero
    for h in range(first - 1, end + 1):
        g = _load_row(grad, place, h, (h >= 0) & (h < H), 1, C, FRAMES, EDGE)
        x_below = _load_row(x, place, h + 1, h + 1 < end, 0, ROW, FRAMES, EDGE)
        if h > first:
            _store_row(grad_x, place, h - 1, _convolve(above, g, mirrored[18:], FRAMES, EDGE), C, FRAMES, EDGE)
        above = _convolve(centre, g, mirrored[9:18], FRAMES, EDGE)
        centre = _convolve(zeros, g, mirrored[:9], FRAMES, EDGE)
        grad_taps = (
            _correlate(grad_taps[:9], g, x_below, FRAMES, EDGE)
            + _correlate(grad_taps[9:18], g, x_centre, FRAMES, EDGE)
            + _correlate(grad_taps[18:], g, x_above, FRAMES, EDGE)
        )
        if (h >= first) & (h < end):
            for k in tl.static_range(EDGE, FRAMES + EDGE):
                for j in tl.static_range(1, COLUMNS + 1):
                    grad_bias += g[k * (COLUMNS + 2) + j]
        x_above, x_centre = x_centre, x_below
    sums += (part.to(tl.int64) * tl.cdiv(W, COLUMNS) + w // COLUMNS) * 28 * C + e
    for i in tl.static_range(27):
        tl.store(sums + (26 - i) * C, grad_taps[i], mask=w < W)
    tl.store(sums + 27 * C, grad_bias, mask=w < W)
