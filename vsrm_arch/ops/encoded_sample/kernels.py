"""The kernels of fused sampling and encoding. A program takes some points and all of their channels."""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import load_vector

__all__ = ["backward_kernel", "forward_kernel"]

_QUARTER_TURN = tl.constexpr(1.5707963267948966)


@triton.jit
def _corners(position, p, is_point, H, W):
    """The rows above and below the points, the columns left and right, and the distances from the first of each pair.

    And whether the points lie within the feature, where their coordinates have an effect.
    """
    y = tl.load(position + 2 * p, mask=is_point, other=0.0)
    x = tl.load(position + 2 * p + 1, mask=is_point, other=0.0)
    y_in, x_in = (y > 0) & (y < H - 1), (x > 0) & (x < W - 1)
    y, x = tl.minimum(tl.maximum(y, 0.0), H - 1.0), tl.minimum(tl.maximum(x, 0.0), W - 1.0)
    top, left = tl.floor(y).to(tl.int32), tl.floor(x).to(tl.int32)
    bottom, right = tl.minimum(top + 1, H - 1), tl.minimum(left + 1, W - 1)
    return top, bottom, left, right, y - top, x - left, y_in, x_in


@triton.jit
def _pixels(feature, row, column, W, c, mask, C: tl.constexpr):
    cells = (row.to(tl.int64) * W + column)[:, None] * C + c[None, :]
    return tl.load(feature + cells, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _angle(local, frequency, p, is_point, c, C: tl.constexpr):
    """The angle whose sine encodes a point in a channel, and the channel's frequency."""
    axis, k = c // (C // 2), c % (C // 2)
    turn = load_vector(frequency, k, c < C)
    coordinate = tl.load(local + 2 * p[:, None] + axis[None, :], mask=is_point[:, None] & (c < C)[None, :], other=0.0)
    return coordinate * turn[None, :] + (k % 2).to(tl.float32)[None, :] * _QUARTER_TURN, turn


@triton.jit
def forward_kernel(
    feature, position, local, frequency, out, P, H, W,
    C: tl.constexpr, POINTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The output ``(B, P, C)``."""
    b = tl.program_id(1).to(tl.int64)
    p, c = tl.program_id(0) * POINTS + tl.arange(0, POINTS), tl.arange(0, CHANNELS)
    is_point = p < P
    mask = is_point[:, None] & (c < C)[None, :]
    p = b * P + p
    top, bottom, left, right, dy, dx, _, _ = _corners(position, p, is_point, H, W)
    feature += b * H * W * C
    dy, dx = dy[:, None], dx[:, None]
    above = _pixels(feature, top, left, W, c, mask, C) * (1 - dx) + _pixels(feature, top, right, W, c, mask, C) * dx
    below = _pixels(feature, bottom, left, W, c, mask, C) * (1 - dx)
    below += _pixels(feature, bottom, right, W, c, mask, C) * dx
    angle, _ = _angle(local, frequency, p, is_point, c, C)
    y = above * (1 - dy) + below * dy + tl.sin(angle)
    tl.store(out + p[:, None] * C + c[None, :], y.to(out.dtype.element_ty), mask=mask)


@triton.jit
def backward_kernel(
    feature, position, local, frequency, grad_out, grad_feature, grad_position, grad_local, P, H, W,
    C: tl.constexpr, POINTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradients; that of the feature is added to what ``grad_feature`` holds, in float32."""
    b = tl.program_id(1).to(tl.int64)
    p, c = tl.program_id(0) * POINTS + tl.arange(0, POINTS), tl.arange(0, CHANNELS)
    is_point = p < P
    mask = is_point[:, None] & (c < C)[None, :]
    p = b * P + p
    grad = tl.load(grad_out + p[:, None] * C + c[None, :], mask=mask, other=0.0).to(tl.float32)

    top, bottom, left, right, dy, dx, y_in, x_in = _corners(position, p, is_point, H, W)
    base = b * H * W * C
    feature += base
    top_left = _pixels(feature, top, left, W, c, mask, C)
    top_right = _pixels(feature, top, right, W, c, mask, C)
    bottom_left = _pixels(feature, bottom, left, W, c, mask, C)
    bottom_right = _pixels(feature, bottom, right, W, c, mask, C)
    wy, wx = dy[:, None], dx[:, None]
    down = (bottom_left - top_left) * (1 - wx) + (bottom_right - top_right) * wx
    across = (top_right - top_left) * (1 - wy) + (bottom_right - bottom_left) * wy
    grad_y = tl.where(y_in, tl.sum(grad * down, axis=1), 0.0)
    grad_x = tl.where(x_in, tl.sum(grad * across, axis=1), 0.0)
    tl.store(grad_position + 2 * p, grad_y, mask=is_point)
    tl.store(grad_position + 2 * p + 1, grad_x, mask=is_point)

    angle, turn = _angle(local, frequency, p, is_point, c, C)
    slope = grad * tl.cos(angle) * turn[None, :]
    of_y = (c < C // 2)[None, :]
    tl.store(grad_local + 2 * p, tl.sum(tl.where(of_y, slope, 0.0), axis=1), mask=is_point)
    tl.store(grad_local + 2 * p + 1, tl.sum(tl.where(of_y, 0.0, slope), axis=1), mask=is_point)

    cells = grad_feature + base + c[None, :]
    upper, lower = (top.to(tl.int64) * W)[:, None], (bottom.to(tl.int64) * W)[:, None]
    left, right = left[:, None], right[:, None]
    tl.atomic_add(cells + (upper + left) * C, grad * (1 - wy) * (1 - wx), mask=mask)
    tl.atomic_add(cells + (upper + right) * C, grad * (1 - wy) * wx, mask=mask)
    tl.atomic_add(cells + (lower + left) * C, grad * wy * (1 - wx), mask=mask)
    tl.atomic_add(cells + (lower + right) * C, grad * wy * wx, mask=mask)
