"""The kernel of a scan's fused inputs. A program takes some visits and all channels."""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import load_vector, product, visited_tokens

__all__ = ["forward_kernel"]


@triton.jit
def forward_kernel(
    x, conv_weight, conv_bias, x_weight, dt_weight, u, delta, rows, M, L, frame, x_batch,
    ROW: tl.constexpr, E: tl.constexpr, K: tl.constexpr, R: tl.constexpr, S: tl.constexpr,
    FRAMES: tl.constexpr, REVERSE: tl.constexpr,
    T: tl.constexpr, CHANNELS: tl.constexpr, RANK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """U and delta ``(B, L, E)``, and the S other rows of W_x u, ``(B, L, S)``."""
    # Sequences follow one another, so that short ones fill a program, too.
    m = tl.program_id(0).to(tl.int64) * T + tl.arange(0, T)
    b, visit = m // L, m % L
    token = b * L + visited_tokens(visit, L, frame, FRAMES, REVERSE)
    within = m < M
    r, s = tl.arange(0, RANK), tl.arange(0, ROWS)
    dt, both = tl.zeros((T, RANK), tl.float32), tl.zeros((T, ROWS), tl.float32)
    for first in range(0, E, CHANNELS):
        e = first + tl.arange(0, CHANNELS)
        is_channel = e < E
        y = tl.zeros((T, CHANNELS), tl.float32) + load_vector(conv_bias, e, is_channel)[None, :]
        for k in tl.static_range(K):
            seen = visit - (K - 1) + k
            is_seen = ((seen >= 0) & within)[:, None] & is_channel[None, :]
            cells = (b * x_batch + visited_tokens(seen, L, frame, FRAMES, REVERSE) * ROW)[:, None] + e[None, :]
            tap = load_vector(conv_weight + k, e * K, is_channel)
            y += tl.load(x + cells, mask=is_seen, other=0.0).to(tl.float32) * tap[None, :]
        y = (y * tl.sigmoid(y)).to(u.dtype.element_ty)
        tl.store(u + token[:, None] * E + e[None, :], y, mask=within[:, None] & is_channel[None, :])
        is_weight = is_channel[:, None] & (r < R)[None, :]
        weight = tl.load(x_weight + r[None, :] * E + e[:, None], mask=is_weight, other=0.0)
        dt += product(y, weight.to(y.dtype))
        is_weight = is_channel[:, None] & (s < S)[None, :]
        weight = tl.load(x_weight + (R + s[None, :]) * E + e[:, None], mask=is_weight, other=0.0)
        both += product(y, weight.to(y.dtype))
    tl.store(rows + token[:, None] * S + s[None, :], both, mask=within[:, None] & (s < S)[None, :])
    dt = dt.to(u.dtype.element_ty)
    for first in range(0, E, CHANNELS):
        e = first + tl.arange(0, CHANNELS)
        weight = tl.load(dt_weight + e[None, :] * R + r[:, None], mask=(r < R)[:, None] & (e < E)[None, :], other=0.0)
        step = product(dt, weight.to(dt.dtype)).to(delta.dtype.element_ty)
        tl.store(delta + token[:, None] * E + e[None, :], step, mask=within[:, None] & (e < E)[None, :])
