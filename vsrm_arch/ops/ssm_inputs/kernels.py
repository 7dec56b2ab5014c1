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
    T: tl.constexpr, CHANNELS: tl.constexpr, RANK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """U and delta ``(B, L, E)``, and the S other rows of W_x u, ``(B, L, S)``."""
    # Sequences follow one another, so that short ones fill a program, too.
    m = tl.program_id(0).to(tl.int64) * T + tl.arange(0, T)
    b, visit = m // L, m % L
    e, r, n = tl.arange(0, CHANNELS), tl.arange(0, RANK), tl.arange(0, STATES)
    is_channel, is_rank, is_state = e < E, r < R, n < S
    y = tl.zeros((T, CHANNELS), tl.float32) + load_vector(conv_bias, e, is_channel)[None, :]
    for k in tl.static_range(K):
        seen = visit - (K - 1) + k
        mask = ((seen >= 0) & (m < M))[:, None] & is_channel[None, :]
        cells = (b * x_batch + visited_tokens(seen, L, frame, FRAMES, REVERSE) * ROW)[:, None] + e[None, :]
        tap = load_vector(conv_weight + k, e * K, is_channel)
        y += tl.load(x + cells, mask=mask, other=0.0).to(tl.float32) * tap[None, :]
    y = (y * tl.sigmoid(y)).to(u.dtype.element_ty)
    token = b * L + visited_tokens(visit, L, frame, FRAMES, REVERSE)
    within = m < M
    mask = within[:, None] & is_channel[None, :]
    tl.store(u + token[:, None] * E + e[None, :], y, mask=mask)

    weight = tl.load(x_weight + r[None, :] * E + e[:, None], mask=is_channel[:, None] & is_rank[None, :], other=0.0)
    dt = product(y, weight.to(y.dtype)).to(y.dtype)
    weight = tl.load(dt_weight + e[None, :] * R + r[:, None], mask=is_rank[:, None] & is_channel[None, :], other=0.0)
    steps = product(dt, weight.to(y.dtype))
    tl.store(delta + token[:, None] * E + e[None, :], steps.to(delta.dtype.element_ty), mask=mask)
    x_weight += R * E
    weight = tl.load(x_weight + n[None, :] * E + e[:, None], mask=is_channel[:, None] & is_state[None, :], other=0.0)
    both = product(y, weight.to(y.dtype))
    tl.store(rows + token[:, None] * S + n[None, :], both, mask=within[:, None] & is_state[None, :])
