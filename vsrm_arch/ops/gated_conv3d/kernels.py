"""The kernels of the fused gated convolution. A program takes part of an image row and of the channels."""

import triton
import triton.language as tl

__all__ = ["convolve_kernel", "gated_kernel", "grad_taps_kernel"]


@triton.jit
def _neighbour(x, row, T, H, W, w, e, is_channel, dt, dh, dw, C: tl.constexpr):
    """The tokens shifted by (dt, dh, dw), zero outside of the clip: ``(columns, channels)`` in float32."""
    t, h = row // H % T + dt, row % H + dh
    column = w + dw
    width = tl.where((t >= 0) & (t < T) & (h >= 0) & (h < H), W, 0)
    mask = ((column >= 0) & (column < width))[:, None] & is_channel[None, :]
    token = (row + dt * H + dh).to(tl.int64) * W + column
    return tl.load(x + token[:, None] * C + e[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _convolve(x, taps, bias, row, T, H, W, w, e, is_channel, C: tl.constexpr):
    """The depthwise convolution with taps ``(27, channels)``."""
    y = tl.zeros((w.shape[0], e.shape[0]), tl.float32)
    if bias is not None:
        y += tl.load(bias + e, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    for k in tl.static_range(27):
        rows = _neighbour(x, row, T, H, W, w, e, is_channel, k // 9 - 1, k // 3 % 3 - 1, k % 3 - 1, C)
        y += rows * tl.load(taps + k * C + e, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    return y


@triton.jit
def gated_kernel(
    value, gate, value_taps, value_bias, gate_taps, gate_bias, grad_out, out, grad_gate, T, H, W,
    C: tl.constexpr, BACKWARD: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The output ``(B, T, H, W, C)``; or BACKWARD, the gradients of both convolutions in ``out`` and ``grad_gate``."""
    row = tl.program_id(0)
    w = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    e = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = e < C
    first = _convolve(value, value_taps, value_bias, row, T, H, W, w, e, is_channel, C)
    second = _convolve(gate, gate_taps, gate_bias, row, T, H, W, w, e, is_channel, C)
    mask = (w < W)[:, None] & is_channel[None, :]
    cells = (row.to(tl.int64) * W + w)[:, None] * C + e[None, :]
    normal = 0.5 * (1.0 + tl.erf(second * 0.7071067811865476))
    if BACKWARD:
        grad = tl.load(grad_out + cells, mask=mask, other=0.0).to(tl.float32)
        slope = normal + second * tl.exp(-0.5 * second * second) * 0.3989422804014327
        tl.store(out + cells, (grad * second * normal).to(out.dtype.element_ty), mask=mask)
        tl.store(grad_gate + cells, (grad * first * slope).to(grad_gate.dtype.element_ty), mask=mask)
    else:
        tl.store(out + cells, (first * second * normal).to(out.dtype.element_ty), mask=mask)


@triton.jit
def convolve_kernel(
    x, taps, out, T, H, W, C: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """The depthwise convolution ``(B, T, H, W, C)`` with taps ``(27, C)``."""
    row = tl.program_id(0)
    w = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    e = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = e < C
    y = _convolve(x, taps, None, row, T, H, W, w, e, is_channel, C)
    cells = out + (row.to(tl.int64) * W + w)[:, None] * C + e[None, :]
    tl.store(cells, y.to(out.dtype.element_ty), mask=(w < W)[:, None] & is_channel[None, :])


@triton.jit
def grad_taps_kernel(
    x, grad, grad_taps, ROWS, T, H, W, rows,
    C: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
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
            left += g * _neighbour(x, row, T, H, W, w, e, is_channel, dt, dh, -1, C)
            centre += g * _neighbour(x, row, T, H, W, w, e, is_channel, dt, dh, 0, C)
            right += g * _neighbour(x, row, T, H, W, w, e, is_channel, dt, dh, 1, C)
    cells = grad_taps + (group.to(tl.int64) * 27 + three * 3) * C + e
    tl.store(cells, tl.sum(left, axis=0), mask=is_channel)
    tl.store(cells + C, tl.sum(centre, axis=0), mask=is_channel)
    tl.store(cells + 2 * C, tl.sum(right, axis=0), mask=is_channel)
