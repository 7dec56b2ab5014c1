"""The kernels of the fused cross scan: the closed form, a point after the other, one channel a thread."""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import LN2, cells_of, inside, load_vector, rates, sigmoid, softplus, store_sums

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
    is_channel, is_state = inside(e, E, CHANNELS), inside(n, N, STATES)
    A2 = rates(A, e, n, is_channel, is_state, N)
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
    POINTS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradients of u and delta ``(P, K, E)``, of B times C, and of A, D and the bias.

    Those of B times C come as a summand a block of channels, ``(blocks, P, K, N)``, the last three as one a program.
    """
    block = tl.program_id(1)
    e, n = block * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = inside(e, E, CHANNELS), inside(n, N, STATES)
    A2 = rates(A, e, n, is_channel, is_state, N)
    shift, skip = load_vector(bias, e, is_channel), load_vector(D, e, is_channel)

    sum_A = tl.zeros((STATES, CHANNELS), tl.float32)
    sum_D, sum_bias = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32)
    first = tl.program_id(0).to(tl.int64) * POINTS
    for p in range(first, tl.minimum(first + POINTS, P)):
        columns = load_vector(C + p * C_ROW, n, is_state)
        grad = load_vector(grad_out + p * E, e, is_channel)
        after = tl.zeros((CHANNELS,), tl.float32)
        raws, of_steps, of_times = (), (), ()
        for t in tl.static_range(K - 1, -1, -1):
            x = load_vector(u + p * u_point + t * U_ROW, e, is_channel)
            raw = load_vector(delta + p * delta_point + t * DELTA_ROW, e, is_channel) + shift
            row = load_vector(B + p * B_point + t * B_ROW, n, is_state) * columns
            step = softplus(raw) if SOFTPLUS else raw
            decay = tl.exp2(after[None, :] * A2)
            grad_affinity = grad * step * x
            summand = grad_rows + ((block * P + p) * K + t) * N + n
            store_sums(summand, decay * grad_affinity[None, :], is_state, PRECISION, CHANNELS)
            weighted = decay * row[:, None]
            grad_entering = tl.sum(weighted, axis=0) * grad
            grad_x = grad_entering * step
            if t == K - 1:
                grad_x += skip * grad
                sum_D += grad * x
            tl.store(grad_u + (p * K + t) * E + e, grad_x.to(grad_u.dtype.element_ty), mask=is_channel)
            sum_A += weighted * (grad_affinity * after)[None, :]
            raws, of_steps = (raw,) + raws, (grad_entering * x,) + of_steps
            of_times = (tl.sum(weighted * A2, axis=0) * LN2 * grad_affinity,) + of_times
            after += step
        # A step passes after every token before it.
        before = tl.zeros((CHANNELS,), tl.float32)
        for t in tl.static_range(K):
            grad_raw = of_steps[t] + before
            before += of_times[t]
            if SOFTPLUS:
                grad_raw *= sigmoid(raws[t])
            sum_bias += grad_raw
            tl.store(grad_delta + (p * K + t) * E + e, grad_raw.to(grad_delta.dtype.element_ty), mask=is_channel)
    part = tl.program_id(0).to(tl.int64) * E + e
    is_cell = is_state[:, None] & is_channel[None, :]
    tl.store(cells_of(grad_A, part[None, :] * N + n[:, None]), sum_A, mask=is_cell)
    tl.store(grad_D + part, sum_D, mask=is_channel)
    tl.store(grad_bias + part, sum_bias, mask=is_channel)
