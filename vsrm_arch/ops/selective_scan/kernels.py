"""The kernels of the fused selective scan; README.md beside this file explains their plan and counts their cost.

A program walks through one chunk of the visits with 32 channels, one a thread, and keeps their N states in registers.
Tokens are loaded a row at a time, never as a tile: so every thread holds all that belongs to its channel, and no value
moves between threads but the rows of B and C.
"""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import LN2, LOG2E, load_vector, softplus, visited_tokens

__all__ = ["TILE", "carry_kernel", "gradients_kernel", "scan_kernel", "sensitivity_kernel"]

TILE = tl.constexpr(4)  # visits of which the gradients keep all states at once


@triton.jit
def _rates(A, e, n, is_channel, is_state, N: tl.constexpr):
    """A times log2(e), ``(STATES, CHANNELS)``."""
    is_cell = is_state[:, None] & is_channel[None, :]
    return tl.load(A + e[None, :] * N + n[:, None], mask=is_cell, other=0.0) * LOG2E


@triton.jit
def _after_step(h, x, step, B_row, A2):
    """The state after a token."""
    return tl.exp2(step[None, :] * A2) * h + (step * x)[None, :] * B_row[:, None]


@triton.jit
def _row(pointer, token, column, is_column, ROW: tl.constexpr):
    return tl.load(pointer + token * ROW + column, mask=is_column, other=0.0)


@triton.jit
def scan_kernel(
    u, delta, A, B, C, D, bias, states, durations, out, L, frame, chunk, u_batch, delta_batch, B_batch, C_batch,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, FRAMES: tl.constexpr,
    OUTPUTS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Walks through a chunk.

    First from zero: leaves the state after the chunk in ``states`` (B, K, N, E) and its time in ``durations`` (B, K,
    E). Then, OUTPUTS, from ``states``, which now stand before the chunks: writes ``out`` (B, L, E).
    """
    c, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    e, n = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = e < E, n < N
    is_cell = is_state[:, None] & is_channel[None, :]
    A2 = _rates(A, e, n, is_channel, is_state, N)
    shift, skip = load_vector(bias, e, is_channel), load_vector(D, e, is_channel)
    u, delta, B, C = u + b * u_batch, delta + b * delta_batch, B + b * B_batch, C + b * C_batch

    of_chunk = (b * tl.num_programs(0) + c) * N * E + n[:, None] * E + e[None, :]
    h = tl.zeros((STATES, CHANNELS), tl.float32)
    if OUTPUTS:
        h = tl.load(states + of_chunk, mask=is_cell, other=0.0)
    duration = tl.zeros((CHANNELS,), tl.float32)
    first = c * chunk
    last = tl.minimum(first + chunk, L) - 1
    # A token is loaded while the one before it is worked on.
    token = visited_tokens(first, L, frame, FRAMES, REVERSE)
    next_x, next_raw = _row(u, token, e, is_channel, U_ROW), _row(delta, token, e, is_channel, DELTA_ROW)
    next_B, next_C = _row(B, token, n, is_state, B_ROW), _row(C, token, n, is_state, C_ROW)
    for visit in range(first, last + 1):
        here, x, raw = token, next_x.to(tl.float32), next_raw.to(tl.float32) + shift
        B_row, C_row = next_B.to(tl.float32), next_C.to(tl.float32)
        token = visited_tokens(tl.minimum(visit + 1, last), L, frame, FRAMES, REVERSE)
        next_x, next_raw = _row(u, token, e, is_channel, U_ROW), _row(delta, token, e, is_channel, DELTA_ROW)
        next_B = _row(B, token, n, is_state, B_ROW)
        step = softplus(raw) if SOFTPLUS else raw
        h = _after_step(h, x, step, B_row, A2)
        if OUTPUTS:
            next_C = _row(C, token, n, is_state, C_ROW)
            y = tl.sum(h * C_row[:, None], axis=0) + skip * x
            tl.store(out + (b * L + here) * E + e, y.to(out.dtype.element_ty), mask=is_channel)
        else:
            duration += step
    if not OUTPUTS:
        tl.store(states + of_chunk, h, mask=is_cell)
        tl.store(durations + (b * tl.num_programs(0) + c) * E + e, duration, mask=is_channel)


@triton.jit
def _two_steps(first_decay, first_added, second_decay, second_added):
    """Two steps in a row are one step."""
    return first_decay * second_decay, second_decay * first_added + second_added


@triton.jit
def carry_kernel(
    A, added, durations, carried, K,
    E: tl.constexpr, N: tl.constexpr, BACKWARD: tl.constexpr, T: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """From what each chunk adds to what stands before it (BACKWARD: after it), ``(B, K, N, E)``."""
    n, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = e < E
    A2 = tl.load(A + e * N + n, mask=is_channel, other=0.0) * LOG2E
    is_last = (tl.arange(0, T) == T - 1)[:, None]
    h = tl.zeros((CHANNELS,), tl.float32)
    for start in range(0, K, T):
        # Before a chunk stands what the chunks until the one before it add up to.
        position = start + tl.arange(0, T)
        c = (K - 1 - position if BACKWARD else position).to(tl.int64) + b * K
        previous = c + 1 if BACKWARD else c - 1
        mask = ((position > 0) & (position < K))[:, None] & is_channel[None, :]
        added_rows = tl.load(added + (previous[:, None] * N + n) * E + e[None, :], mask=mask, other=0.0)
        duration = tl.load(durations + previous[:, None] * E + e[None, :], mask=mask, other=0.0)
        decay, before = tl.associative_scan((tl.exp2(duration * A2[None, :]), added_rows), 0, _two_steps)
        before += decay * h[None, :]
        h = tl.sum(tl.where(is_last, before, 0.0), axis=0)
        mask = (position < K)[:, None] & is_channel[None, :]
        tl.store(carried + (c[:, None] * N + n) * E + e[None, :], before, mask=mask)


@triton.jit
def _tile_tokens(visit, L, frame, FRAMES: tl.constexpr, REVERSE: tl.constexpr):
    """The tokens of four visits; behind the last one it stands again."""
    return (
        visited_tokens(visit, L, frame, FRAMES, REVERSE),
        visited_tokens(tl.minimum(visit + 1, L - 1), L, frame, FRAMES, REVERSE),
        visited_tokens(tl.minimum(visit + 2, L - 1), L, frame, FRAMES, REVERSE),
        visited_tokens(tl.minimum(visit + 3, L - 1), L, frame, FRAMES, REVERSE),
    )


@triton.jit
def _token(
    u, delta, grad_out, token, e, mask, shift,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, E: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """x, delta with its bias, the step and the gradient of the output; zero where masked, so that nothing changes."""
    x = _row(u, token, e, mask, U_ROW).to(tl.float32)
    raw = _row(delta, token, e, mask, DELTA_ROW).to(tl.float32) + shift
    step = tl.where(mask, softplus(raw) if SOFTPLUS else raw, 0.0)
    return x, raw, step, _row(grad_out, token, e, mask, E).to(tl.float32)


@triton.jit
def _sum_over_channels(first, second, third, fourth, N: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr):
    """The sums of four ``(N, CHANNELS)``: a product with ones, ``(4 N, 16)`` with 16 equal columns.

    It takes fewer instructions than exchanges between threads.
    """
    stacked = tl.join(tl.join(first, third), tl.join(second, fourth))  # [N, CHANNELS, 2, 2]
    stacked = tl.reshape(tl.permute(stacked, (2, 3, 0, 1)), (4 * N, CHANNELS))
    return tl.dot(stacked, tl.full((CHANNELS, 16), 1.0, tl.float32), input_precision=PRECISION)


@triton.jit
def _sensitive_step(h, left, sensitivity, x, step, grad, B_row, C_row, A2):
    decay = tl.exp2(step[None, :] * A2)
    h = decay * h + (step * x)[None, :] * B_row[:, None]
    left *= decay
    return h, left, sensitivity + left * (C_row[:, None] * grad[None, :])


@triton.jit
def sensitivity_kernel(
    u, delta, A, B, C, bias, grad_out, states, durations, tile_states, sensitivities,
    L, frame, chunk, u_batch, delta_batch, B_batch, C_batch,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, FRAMES: tl.constexpr,
    STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Walks through a chunk, given the state before it.

    Writes the gradient of the chunk's outputs by that state to ``sensitivities`` (B, K, N, E), its time to
    ``durations``, and the state before each tile to ``tile_states`` (B, L / TILE, N, E).
    """
    c, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    e, n = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = e < E, n < N
    is_cell = is_state[:, None] & is_channel[None, :]
    A2 = _rates(A, e, n, is_channel, is_state, N)
    shift = load_vector(bias, e, is_channel)
    u, delta, B, C = u + b * u_batch, delta + b * delta_batch, B + b * B_batch, C + b * C_batch
    grad_out += b * L * E

    cell = n[:, None] * E + e[None, :]
    of_chunk = (b * tl.num_programs(0) + c) * N * E + cell
    h = tl.load(states + of_chunk, mask=is_cell, other=0.0)
    left = tl.full((STATES, CHANNELS), 1.0, tl.float32)  # of the state before the chunk
    sensitivity = tl.zeros((STATES, CHANNELS), tl.float32)
    duration = tl.zeros((CHANNELS,), tl.float32)
    for i in range(tl.cdiv(tl.minimum(chunk, L - c * chunk), TILE)):
        start = c * chunk + i * TILE
        t0, t1, t2, t3 = _tile_tokens(start, L, frame, FRAMES, REVERSE)
        x0, _, s0, g0 = _token(u, delta, grad_out, t0, e, is_channel, shift, U_ROW, DELTA_ROW, E, SOFTPLUS)
        mask = e < tl.where(start + 1 < L, E, 0)
        x1, _, s1, g1 = _token(u, delta, grad_out, t1, e, mask, shift, U_ROW, DELTA_ROW, E, SOFTPLUS)
        mask = e < tl.where(start + 2 < L, E, 0)
        x2, _, s2, g2 = _token(u, delta, grad_out, t2, e, mask, shift, U_ROW, DELTA_ROW, E, SOFTPLUS)
        mask = e < tl.where(start + 3 < L, E, 0)
        x3, _, s3, g3 = _token(u, delta, grad_out, t3, e, mask, shift, U_ROW, DELTA_ROW, E, SOFTPLUS)
        duration += s0 + s1 + s2 + s3
        of_tile = (b * tl.cdiv(L, TILE) + start // TILE) * N * E + cell
        tl.store(tile_states + of_tile, h, mask=is_cell)
        B_row, C_row = _row(B, t0, n, is_state, B_ROW).to(tl.float32), _row(C, t0, n, is_state, C_ROW).to(tl.float32)
        h, left, sensitivity = _sensitive_step(h, left, sensitivity, x0, s0, g0, B_row, C_row, A2)
        B_row, C_row = _row(B, t1, n, is_state, B_ROW).to(tl.float32), _row(C, t1, n, is_state, C_ROW).to(tl.float32)
        h, left, sensitivity = _sensitive_step(h, left, sensitivity, x1, s1, g1, B_row, C_row, A2)
        B_row, C_row = _row(B, t2, n, is_state, B_ROW).to(tl.float32), _row(C, t2, n, is_state, C_ROW).to(tl.float32)
        h, left, sensitivity = _sensitive_step(h, left, sensitivity, x2, s2, g2, B_row, C_row, A2)
        B_row, C_row = _row(B, t3, n, is_state, B_ROW).to(tl.float32), _row(C, t3, n, is_state, C_ROW).to(tl.float32)
        h, left, sensitivity = _sensitive_step(h, left, sensitivity, x3, s3, g3, B_row, C_row, A2)
    tl.store(sensitivities + of_chunk, sensitivity, mask=is_cell)
    tl.store(durations + (b * tl.num_programs(0) + c) * E + e, duration, mask=is_channel)


@triton.jit
def _back_step(
    before, x, raw, step, grad, grad_h, sum_A, A2, one, skip, B, C, grad_u, grad_delta, token, e, n, mask, is_state,
    B_ROW: tl.constexpr, C_ROW: tl.constexpr, E: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """A token's gradients, given the state before it and the gradient by the state after it.

    Returns the gradient by the state before it, the sum of A's gradient, the gradient of delta, and what is to be
    summed over the channels for B's.
    """
    C_row = _row(C, token, n, is_state, C_ROW).to(tl.float32)
    # Loaded once more, as the decay is computed once more below: kept, they would occupy too many registers. The other
    # way to the cache, and a factor of one, keep the compiler from using the first ones again.
    B_row = tl.load(B + token * B_ROW + n, mask=is_state, other=0.0, cache_modifier=".cg").to(tl.float32)
    grad_h += C_row[:, None] * grad[None, :]
    of_B = grad_h * (step * x)[None, :]
    grad_entering = tl.sum(grad_h * B_row[:, None], axis=0)
    grad_h *= tl.exp2((step * one)[None, :] * A2)
    grad_exponent = grad_h * before  # of step * A
    sum_A += grad_exponent * step[None, :]
    grad_raw = tl.sum(grad_exponent * A2, axis=0) * LN2 + grad_entering * x
    if SOFTPLUS:
        grad_raw *= tl.sigmoid(raw)
    grad_raw = tl.where(mask, grad_raw, 0.0)
    tl.store(grad_delta + token * E + e, grad_raw.to(grad_delta.dtype.element_ty), mask=mask)
    grad_x = grad_entering * step + skip * grad
    tl.store(grad_u + token * E + e, grad_x.to(grad_u.dtype.element_ty), mask=mask)
    return grad_h, sum_A, grad_raw, of_B


@triton.jit
def gradients_kernel(
    u, delta, A, B, C, D, bias, grad_out, tile_states, grad_states,
    grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias,
    one, L, frame, chunk, u_batch, delta_batch, B_batch, C_batch,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, FRAMES: tl.constexpr,
    PRECISION: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Walks back through a chunk, given the state before each tile and the gradient by the state after the chunk.

    The gradients of A, D and the bias come as one summand a chunk (B, K, ...), those of B and C as one summand a block
    of channels (blocks, B, L, N).
    """
    c, block, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    e, n = block * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = e < E, n < N
    is_cell = is_state[:, None] & is_channel[None, :]
    A2 = _rates(A, e, n, is_channel, is_state, N)
    shift, skip = load_vector(bias, e, is_channel), load_vector(D, e, is_channel)
    u, delta, B, C = u + b * u_batch, delta + b * delta_batch, B + b * B_batch, C + b * C_batch
    grad_out, grad_u, grad_delta = grad_out + b * L * E, grad_u + b * L * E, grad_delta + b * L * E

    cell = n[:, None] * E + e[None, :]
    of_chunk = b * tl.num_programs(0) + c
    grad_h = tl.load(grad_states + of_chunk * N * E + cell, mask=is_cell, other=0.0)
    sum_A = tl.zeros((STATES, CHANNELS), tl.float32)
    sum_D, sum_bias = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32)
    # The sums over channels of a tile: rows are its visits and states, and all columns are equal.
    row, column = tl.arange(0, TILE * STATES), tl.arange(0, 16)
    tiles = tl.cdiv(tl.minimum(chunk, L - c * chunk), TILE)
    for i in range(tiles):
        start = c * chunk + (tiles - 1 - i) * TILE
        t0, t1, t2, t3 = _tile_tokens(start, L, frame, FRAMES, REVERSE)
        m1, m2 = e < tl.where(start + 1 < L, E, 0), e < tl.where(start + 2 < L, E, 0)
        m3 = e < tl.where(start + 3 < L, E, 0)
        x0, raw0, s0, g0 = _token(u, delta, grad_out, t0, e, is_channel, shift, U_ROW, DELTA_ROW, E, SOFTPLUS)
        x1, raw1, s1, g1 = _token(u, delta, grad_out, t1, e, m1, shift, U_ROW, DELTA_ROW, E, SOFTPLUS)
        x2, raw2, s2, g2 = _token(u, delta, grad_out, t2, e, m2, shift, U_ROW, DELTA_ROW, E, SOFTPLUS)
        x3, raw3, s3, g3 = _token(u, delta, grad_out, t3, e, m3, shift, U_ROW, DELTA_ROW, E, SOFTPLUS)

        # Forwards again, keeping the state before each token.
        of_tile = (b * tl.cdiv(L, TILE) + start // TILE) * N * E + cell
        h0 = tl.load(tile_states + of_tile, mask=is_cell, other=0.0)
        h1 = _after_step(h0, x0, s0, _row(B, t0, n, is_state, B_ROW).to(tl.float32), A2)
        h2 = _after_step(h1, x1, s1, _row(B, t1, n, is_state, B_ROW).to(tl.float32), A2)
        h3 = _after_step(h2, x2, s2, _row(B, t2, n, is_state, B_ROW).to(tl.float32), A2)
        h4 = _after_step(h3, x3, s3, _row(B, t3, n, is_state, B_ROW).to(tl.float32), A2)

        token = visited_tokens(start + row // STATES, L, frame, FRAMES, REVERSE)
        summand = (((block * tl.num_programs(2) + b) * L + token) * N + row % STATES)[:, None] + 0 * column[None, :]
        is_summand = (start + row // STATES < L) & (row % STATES < N)
        is_summand = is_summand[:, None] & (column == 0)[None, :]
        C0, C1, C2, C3 = h1 * g0[None, :], h2 * g1[None, :], h3 * g2[None, :], h4 * g3[None, :]
        over = _sum_over_channels(C0, C1, C2, C3, STATES, CHANNELS, PRECISION)
        tl.store(grad_C + summand, over, mask=is_summand)

        grad_h, sum_A, d3, B3 = _back_step(
            h3, x3, raw3, s3, g3, grad_h, sum_A, A2, one, skip, B, C, grad_u, grad_delta, t3, e, n, m3, is_state,
            B_ROW, C_ROW, E, SOFTPLUS,
        )  # fmt: skip
        grad_h, sum_A, d2, B2 = _back_step(
            h2, x2, raw2, s2, g2, grad_h, sum_A, A2, one, skip, B, C, grad_u, grad_delta, t2, e, n, m2, is_state,
            B_ROW, C_ROW, E, SOFTPLUS,
        )  # fmt: skip
        grad_h, sum_A, d1, B1 = _back_step(
            h1, x1, raw1, s1, g1, grad_h, sum_A, A2, one, skip, B, C, grad_u, grad_delta, t1, e, n, m1, is_state,
            B_ROW, C_ROW, E, SOFTPLUS,
        )  # fmt: skip
        grad_h, sum_A, d0, B0 = _back_step(
            h0, x0, raw0, s0, g0, grad_h, sum_A, A2, one, skip, B, C, grad_u, grad_delta, t0, e, n, is_channel,
            is_state, B_ROW, C_ROW, E, SOFTPLUS,
        )  # fmt: skip
        tl.store(grad_B + summand, _sum_over_channels(B0, B1, B2, B3, STATES, CHANNELS, PRECISION), mask=is_summand)
        sum_bias += d0 + d1 + d2 + d3
        sum_D += x0 * g0 + x1 * g1 + x2 * g2 + x3 * g3
    tl.store(grad_A + of_chunk * N * E + cell, sum_A, mask=is_cell)
    tl.store(grad_D + of_chunk * E + e, sum_D, mask=is_channel)
    tl.store(grad_bias + of_chunk * E + e, sum_bias, mask=is_channel)
