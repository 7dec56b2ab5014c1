"""The kernels of the fused gated convolution. A program takes part of an image row and of the channels."""

import triton
import triton.language as tl

__all__ = ["convolve_kernel", "gated_kernel", "grad_taps_kernel"]


@triton.jit
def _neighbour(x, row, T, H, W, w, e, is_channel, dt, dh, dw, ROW: tl.constexpr):
    """The tokens shifted by (dt, dh, dw), zero outside of the clip: ``(columns, channels)`` in float32."""
    t, h = row // H % T + dt, row % H + dh
    column = w + dw
    width = tl.where((t >= 0) & (t < T) & (h >= 0) & (h < H), W, 0)
    mask = ((column >= 0) & (column < width))[:, None] & is_channel[None, :]
    token = (row + dt * H + dh).to(tl.int64) * W + column
    return tl.load(x + token[:, None] * ROW + e[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _spread_row(
    x, taps, above, centre, below, image, t, T, H, W, h, w, e, is_channel, ROW: tl.constexpr, C: tl.constexpr
):  # fmt: skip
    """Adds what row h of the image and of its neighbours in time gives to the rows above, at and below h.

    Read and converted once, a row serves the three rows that look at it.
    """
    for k in range(3):
        if (t + k >= 1) & (t + k <= T) & (h >= 0) & (h < H):
            for j in tl.static_range(3):
                column = w + (j - 1)
                mask = ((column >= 0) & (column < W))[:, None] & is_channel[None, :]
                cells = (((image + (k - 1)) * H + h) * W + column)[:, None] * ROW + e[None, :]
                row = tl.load(x + cells, mask=mask, other=0.0).to(tl.float32)
                tap = taps + (9 * k + j) * C + e
                above += row * tl.load(tap + 6 * C, mask=is_channel, other=0.0).to(tl.float32)[None, :]
                centre += row * tl.load(tap + 3 * C, mask=is_channel, other=0.0).to(tl.float32)[None, :]
                below += row * tl.load(tap, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    return above, centre, below


@triton.jit
def _strip(T, H, strips, ROWS: tl.constexpr, C: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr):
    """A program's part: image, its place in time, first row and the one after the last, columns, channels."""
    image, first = tl.program_id(0) // strips, tl.program_id(0) % strips * ROWS
    w = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    e = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    return image.to(tl.int64), image % T, first, tl.minimum(first + ROWS, H), w, e, e < C


@triton.jit
def gated_kernel(
    value, gate, value_taps, value_bias, gate_taps, gate_bias, grad_out, out, grad_gate, T, H, W, strips,
    VALUE_ROW: tl.constexpr, GATE_ROW: tl.constexpr, C: tl.constexpr, BACKWARD: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The output ``(B, T, H, W, C)``; or BACKWARD, the gradients of both convolutions in ``out`` and ``grad_gate``."""
    image, t, first, end, w, e, is_channel = _strip(T, H, strips, ROWS, C, COLUMNS, CHANNELS)
    mask = (w < W)[:, None] & is_channel[None, :]
    zero = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    v_start = zero + tl.load(value_bias + e, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    g_start = zero + tl.load(gate_bias + e, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    v_above, v_centre, v_below = v_start, v_start, v_start
    g_above, g_centre, g_below = g_start, g_start, g_start
    for h in range(first - 1, end + 1):
        v_above, v_centre, v_below = _spread_row(
            value, value_taps, v_above, v_centre, v_below, image, t, T, H, W, h, w, e, is_channel, VALUE_ROW, C
        )
        g_above, g_centre, g_below = _spread_row(
            gate, gate_taps, g_above, g_centre, g_below, image, t, T, H, W, h, w, e, is_channel, GATE_ROW, C
        )
        # The row above is complete.
        if h > first:
            cells = ((image * H + h - 1) * W + w)[:, None] * C + e[None, :]
            normal = 0.5 * (1.0 + tl.erf(g_above * 0.7071067811865476))
            if BACKWARD:
                grad = tl.load(grad_out + cells, mask=mask, other=0.0).to(tl.float32)
                slope = normal + g_above * tl.exp(-0.5 * g_above * g_above) * 0.3989422804014327
                tl.store(out + cells, (grad * g_above * normal).to(out.dtype.element_ty), mask=mask)
                tl.store(grad_gate + cells, (grad * v_above * slope).to(grad_gate.dtype.element_ty), mask=mask)
            else:
                tl.store(out + cells, (v_above * g_above * normal).to(out.dtype.element_ty), mask=mask)
        v_above, v_centre, v_below = v_centre, v_below, v_start
        g_above, g_centre, g_below = g_centre, g_below, g_start


@triton.jit
def convolve_kernel(
    x, taps, out, T, H, W, strips,
    C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The depthwise convolution ``(B, T, H, W, C)`` with taps ``(27, C)``."""
    image, t, first, end, w, e, is_channel = _strip(T, H, strips, ROWS, C, COLUMNS, CHANNELS)
    zero = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    above, centre, below = zero, zero, zero
    for h in range(first - 1, end + 1):
        above, centre, below = _spread_row(
            x, taps, above, centre, below, image, t, T, H, W, h, w, e, is_channel, C, C
        )  # fmt: skip
        if h > first:
            cells = out + ((image * H + h - 1) * W + w)[:, None] * C + e[None, :]
            tl.store(cells, above.to(out.dtype.element_ty), mask=(w < W)[:, None] & is_channel[None, :])
        above, centre, below = centre, below, zero


@triton.jit
def grad_taps_kernel(
    x, grad, grad_taps, ROWS, T, H, W, rows,
    ROW: tl.constexpr, C: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of the taps, a summand for each group of ``rows`` image rows, ``(groups, 27, C)``.

    A program takes three taps, which lie side by side.
    """
    group, three = tl.program_id(0), tl.program_id(1)
    e = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = e < C
    dt, dh = three // 3 - 1, three % 3 - 1
    left = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    centre = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    right = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    for row in range(group * rows, tl.minimum(group * rows + rows, ROWS)):
        for start in range(0, W, COLUMNS):
            w = start + tl.arange(0, COLUMNS)
            g = _neighbour(grad, row, T, H, W, w, e, is_channel, 0, 0, 0, C)
            left += g * _neighbour(x, row, T, H, W, w, e, is_channel, dt, dh, -1, ROW)
            centre += g * _neighbour(x, row, T, H, W, w, e, is_channel, dt, dh, 0, ROW)
            right += g * _neighbour(x, row, T, H, W, w, e, is_channel, dt, dh, 1, ROW)
    cells = grad_taps + (group.to(tl.int64) * 27 + three * 3) * C + e
    tl.store(cells, tl.sum(left, axis=0), mask=is_channel)
    tl.store(cells + C, tl.sum(centre, axis=0), mask=is_channel)
    tl.store(cells + 2 * C, tl.sum(right, axis=0), mask=is_channel)
