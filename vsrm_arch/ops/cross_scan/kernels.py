"""The kernels of the fused cross scan: the closed form, a point after the other, one channel a thread."""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import LN2, LOG2E, load_rows, load_vector, pick, softplus, sum_over_channels

__all__ = ["backward_kernel", "forward_kernel"]


@triton.jit
def forward_kernel(
    u, delta, A, B, C, D, bias, out, P, u_point, delta_point, B_point,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    K: tl.constexpr, E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr,
    POINTS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The output ``(P, E)``: ``sum_t affinity_t step_t u_t + D u_K``."""
    e, n = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = e < E, n < N
    A2 = tl.load(A + e[None, :] * N + n[:, None], is_state[:, None] & is_channel[None, :], 0.0) * LOG2E
    shift, skip = load_vector(bias, e, is_channel), load_vector(D, e, is_channel)
    first = tl.program_id(0).to(tl.int64) * POINTS
    for p in range(first, tl.minimum(first + POINTS, P)):
        # Tokens are loaded a row at a time: so every thread holds all that belongs to its channel.
        columns = load_vector(C + p * C_ROW, n, is_state)
        after = tl.zeros((CHANNELS,), tl.float32)  # the time from a token to the end
        y = tl.zeros((STATES, CHANNELS), tl.float32)
        last = load_vector(u + p * u_point + (K - 1) * U_ROW, e, is_channel)
        for t in tl.static_range(K - 1, -1, -1):
            x = load_vector(u + p * u_point + t * U_ROW, e, is_channel)
            raw = load_vector(delta + p * delta_point + t * DELTA_ROW, e, is_channel) + shift
            row = load_vector(B + p * B_point + t * B_ROW, n, is_state) * columns
            step = softplus(raw) if SOFTPLUS else raw
            y += tl.exp2(after[None, :] * A2) * ((step * x)[None, :] * row[:, None])
            after += step
        y = tl.sum(y, axis=0) + skip * last
        tl.store(out + p * E + e, y.to(out.dtype.element_ty), mask=is_channel)


@triton.jit
def backward_kernel(
    u, delta, A, B, C, D, bias, grad_out, grad_u, grad_delta, grad_rows, grad_A, grad_D, grad_bias,
    P, u_point, delta_point, B_point,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    K: tl.constexpr, E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, PRECISION: tl.constexpr,
    POINTS: tl.constexpr, TOKENS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradients of u and delta ``(P, K, E)``, of B times C, and of A, D and the bias.

    Those of B times C come as a summand a block of channels, ``(blocks, P, K, N)``, the last three as one a program.
    """
    block = tl.program_id(1)
    e, n = block * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = e < E, n < N
    A2 = tl.load(A + e[None, :] * N + n[:, None], is_state[:, None] & is_channel[None, :], 0.0) * LOG2E
    shift, skip = load_vector(bias, e, is_channel), load_vector(D, e, is_channel)
    token = tl.arange(0, TOKENS)
    t2, t3 = token[:, None], token[:, None, None]
    mask, row_mask = (token < K)[:, None] & is_channel[None, :], (token < K)[:, None] & is_state[None, :]

    sum_A = tl.zeros((STATES, CHANNELS), tl.float32)
    sum_D, sum_bias = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32)
    first = tl.program_id(0).to(tl.int64) * POINTS
    for p in range(first, tl.minimum(first + POINTS, P)):
        x = load_rows(u + p * u_point, token, e, mask, U_ROW)
        raw = load_rows(delta + p * delta_point, token, e, mask, DELTA_ROW) + shift[None, :]
        step = softplus(raw) if SOFTPLUS else raw
        columns = load_vector(C + p * C_ROW, n, is_state)
        rows = (load_rows(B + p * B_point, token, n, row_mask, B_ROW) * columns[None, :])[:, :, None]
        grad = load_vector(grad_out + p * E, e, is_channel)

        after = tl.zeros((CHANNELS,), tl.float32)
        dx, dstep = tl.zeros((TOKENS, CHANNELS), tl.float32), tl.zeros((TOKENS, CHANNELS), tl.float32)
        dafter = tl.zeros((TOKENS, CHANNELS), tl.float32)
        for t in tl.static_range(K - 1, -1, -1):
            step_t, x_t = pick(step, t2, t), pick(x, t2, t)
            decay = tl.exp2(after[None, :] * A2)
            weighted = decay * pick(rows, t3, t)
            grad_entering = tl.sum(weighted, axis=0) * grad
            grad_affinity = grad * step_t * x_t
            dx += tl.where(t2 == t, (grad_entering * step_t)[None, :], 0.0)
            dstep += tl.where(t2 == t, (grad_entering * x_t)[None, :], 0.0)
            dafter += tl.where(t2 == t, (tl.sum(weighted * A2, axis=0) * LN2 * grad_affinity)[None, :], 0.0)
            sum_A += weighted * (grad_affinity * after)[None, :]
            summand = ((block * P + p) * K + t) * N + n
            over = sum_over_channels(decay * grad_affinity[None, :], CHANNELS, PRECISION)
            tl.store(grad_rows + summand, over, mask=is_state)
            after += step_t
        # A step passes after every token before it.
        before = tl.zeros((CHANNELS,), tl.float32)
        for t in tl.static_range(K):
            dstep += tl.where(t2 == t, before[None, :], 0.0)
            before += pick(dafter, t2, t)
        if SOFTPLUS:
            dstep *= tl.sigmoid(raw)
        dstep = tl.where(mask, dstep, 0.0)
        sum_bias += tl.sum(dstep, axis=0)
        sum_D += grad * pick(x, t2, K - 1)
        dx += tl.where(t2 == K - 1, (skip * grad)[None, :], 0.0)
        out = (p * K + token[:, None]) * E + e[None, :]
        tl.store(grad_u + out, dx.to(grad_u.dtype.element_ty), mask=mask)
        tl.store(grad_delta + out, dstep.to(grad_delta.dtype.element_ty), mask=mask)
    part = tl.program_id(0).to(tl.int64) * E + e
    is_cell = is_state[:, None] & is_channel[None, :]
    tl.store(grad_A + part[None, :] * N + n[:, None], sum_A, mask=is_cell)
    tl.store(grad_D + part, sum_D, mask=is_channel)
    tl.store(grad_bias + part, sum_bias, mask=is_channel)
