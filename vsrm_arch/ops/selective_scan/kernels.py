"""The kernels of the fused selective scan; README.md beside this file explains their plan and counts their cost.

A program walks through one chunk of the visits with 32 channels, one a thread, and keeps their N states in registers.
It loads a tile of tokens at a time. Tiles lie so that a thread holds all tokens of its channel: picking a token out of
a tile, or writing one into it, costs nothing.
"""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import (
    LN2,
    LOG2E,
    load_rows,
    load_vector,
    pick,
    softplus,
    sum_over_channels,
    visited_tokens,
)

__all__ = ["carry_kernel", "gradients_kernel", "scan_kernel"]


@triton.jit
def _tile(start, L, frame, T: tl.constexpr, FRAMES: tl.constexpr, REVERSE: tl.constexpr):
    """The tokens visited in steps start to start + T - 1, and whether there are such steps."""
    visit = start + tl.arange(0, T)
    return visited_tokens(visit, L, frame, FRAMES, REVERSE), visit < L


@triton.jit
def _steps(raw, within, SOFTPLUS: tl.constexpr):
    """The time steps; zero after the last token, so that the state stays as it is."""
    step = softplus(raw) if SOFTPLUS else raw
    return tl.where(within[:, None], step, 0.0)


@triton.jit
def scan_kernel(
    u, delta, A, B, C, D, bias, grad_out, states, durations, out, tile_states, sensitivities,
    L, frame, chunk, u_batch, delta_batch, B_batch, C_batch,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, FRAMES: tl.constexpr,
    STAGE: tl.constexpr, T: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Walks through a chunk, in one of three stages.

    "states": from zero; leaves the state after the chunk in ``states`` (B, K, N, E) and its time in ``durations``
    (B, K, E).
    "outputs": from ``states``, which now stand before the chunks; writes ``out`` (B, L, E).
    "sensitivity": from the same; writes the gradient of the chunk's outputs by the state before it to
    ``sensitivities`` (B, K, N, E), its time, and the state before each tile to ``tile_states`` (B, L / T, N, E).
    """
    c, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    e, n = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = e < E, n < N
    is_cell = is_state[:, None] & is_channel[None, :]
    A2 = tl.load(A + e[None, :] * N + n[:, None], mask=is_cell, other=0.0) * LOG2E
    shift, skip = load_vector(bias, e, is_channel), load_vector(D, e, is_channel)
    t2, t3 = tl.arange(0, T)[:, None], tl.arange(0, T)[:, None, None]

    cell = n[:, None] * E + e[None, :]
    of_chunk = (b * tl.num_programs(0) + c) * N * E + cell
    if STAGE == "states":
        h = tl.zeros((STATES, CHANNELS), tl.float32)
    else:
        h = tl.load(states + of_chunk, mask=is_cell, other=0.0)
    if STAGE == "sensitivity":
        left = tl.full((STATES, CHANNELS), 1.0, tl.float32)  # of the state before the chunk
        sensitivity = tl.zeros((STATES, CHANNELS), tl.float32)
    duration = tl.zeros((CHANNELS,), tl.float32)
    for start in range(c * chunk, tl.minimum(c * chunk + chunk, L), T):
        token, within = _tile(start, L, frame, T, FRAMES, REVERSE)
        mask, row_mask = within[:, None] & is_channel[None, :], within[:, None] & is_state[None, :]
        x = load_rows(u + b * u_batch, token, e, mask, U_ROW)
        raw = load_rows(delta + b * delta_batch, token, e, mask, DELTA_ROW) + shift[None, :]
        step = _steps(raw, within, SOFTPLUS)
        entering = step * x
        B_rows = load_rows(B + b * B_batch, token, n, row_mask, B_ROW)[:, :, None]
        if STAGE != "states":
            C_rows = load_rows(C + b * C_batch, token, n, row_mask, C_ROW)[:, :, None]
        if STAGE == "outputs":
            y = skip[None, :] * x
        else:
            duration += tl.sum(step, axis=0)
        if STAGE == "sensitivity":
            grad = load_rows(grad_out + b * L * E, token, e, mask, E)
            of_tile = (b * tl.cdiv(L, T) + start // T) * N * E + cell
            tl.store(tile_states + of_tile, h, mask=is_cell)
        for t in tl.static_range(T):
            decay = tl.exp2(pick(step, t2, t)[None, :] * A2)
            h = decay * h + pick(entering, t2, t)[None, :] * pick(B_rows, t3, t)
            if STAGE == "outputs":
                y += tl.where(t2 == t, tl.sum(h * pick(C_rows, t3, t), axis=0)[None, :], 0.0)
            if STAGE == "sensitivity":
                left *= decay
                sensitivity += left * (pick(C_rows, t3, t) * pick(grad, t2, t)[None, :])
        if STAGE == "outputs":
            tl.store(out + (b * L + token[:, None]) * E + e[None, :], y.to(out.dtype.element_ty), mask=mask)
    if STAGE == "states":
        tl.store(states + of_chunk, h, mask=is_cell)
    if STAGE == "sensitivity":
        tl.store(sensitivities + of_chunk, sensitivity, mask=is_cell)
    if STAGE != "outputs":
        tl.store(durations + (b * tl.num_programs(0) + c) * E + e, duration, mask=is_channel)


@triton.jit
def carry_kernel(
    A, states, durations, K,
    E: tl.constexpr, N: tl.constexpr, BACKWARD: tl.constexpr, T: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """From what each chunk adds to what stands before it (BACKWARD: after it), in place, ``(B, K, N, E)``."""
    n, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = e < E
    A2 = tl.load(A + e * N + n, mask=is_channel, other=0.0) * LOG2E
    t2 = tl.arange(0, T)[:, None]
    h = tl.zeros((CHANNELS,), tl.float32)
    for start in range(0, K, T):
        position = start + tl.arange(0, T)
        mask = (position < K)[:, None] & is_channel[None, :]
        c = (K - 1 - position if BACKWARD else position).to(tl.int64) + b * K
        cells = states + (c[:, None] * N + n) * E + e[None, :]
        added = tl.load(cells, mask=mask, other=0.0)
        decay = tl.exp2(tl.load(durations + c[:, None] * E + e[None, :], mask=mask, other=0.0) * A2[None, :])
        before = tl.zeros((T, CHANNELS), tl.float32)
        for t in tl.static_range(T):
            before = tl.where(t2 == t, h[None, :], before)
            h = pick(decay, t2, t) * h + pick(added, t2, t)
        tl.store(cells, before, mask=mask)


@triton.jit
def gradients_kernel(
    u, delta, A, B, C, D, bias, grad_out, tile_states, grad_states,
    grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias,
    one, L, frame, chunk, u_batch, delta_batch, B_batch, C_batch,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, FRAMES: tl.constexpr,
    PRECISION: tl.constexpr, T: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Walks back through a chunk, given the state before each tile and the gradient by the state after the chunk.

    The gradients of A, D and the bias come as one summand a chunk (B, K, ...), those of B and C as one summand a block
    of channels (blocks, B, L, N).
    """
    c, block, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    e, n = block * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = e < E, n < N
    is_cell = is_state[:, None] & is_channel[None, :]
    A2 = tl.load(A + e[None, :] * N + n[:, None], mask=is_cell, other=0.0) * LOG2E
    shift, skip = load_vector(bias, e, is_channel), load_vector(D, e, is_channel)
    t1, t2, t3 = tl.arange(0, T), tl.arange(0, T)[:, None], tl.arange(0, T)[:, None, None]

    cell = n[:, None] * E + e[None, :]
    of_chunk = b * tl.num_programs(0) + c
    grad_h = tl.load(grad_states + of_chunk * N * E + cell, mask=is_cell, other=0.0)
    sum_A = tl.zeros((STATES, CHANNELS), tl.float32)
    sum_D, sum_bias = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32)
    tiles = tl.cdiv(tl.minimum(chunk, L - c * chunk), T)
    for i in range(tiles):
        start = c * chunk + (tiles - 1 - i) * T
        token, within = _tile(start, L, frame, T, FRAMES, REVERSE)
        mask, row_mask = within[:, None] & is_channel[None, :], within[:, None] & is_state[None, :]
        x = load_rows(u + b * u_batch, token, e, mask, U_ROW)
        raw = load_rows(delta + b * delta_batch, token, e, mask, DELTA_ROW) + shift[None, :]
        step = _steps(raw, within, SOFTPLUS)
        entering = step * x
        B_rows = load_rows(B + b * B_batch, token, n, row_mask, B_ROW)[:, :, None]
        C_rows = load_rows(C + b * C_batch, token, n, row_mask, C_ROW)[:, :, None]
        grad = load_rows(grad_out + b * L * E, token, e, mask, E)

        # Forwards again, keeping the state before each token.
        of_tile = (b * tl.cdiv(L, T) + start // T) * N * E + cell
        h = tl.load(tile_states + of_tile, mask=is_cell, other=0.0)
        before = tl.zeros((T, STATES, CHANNELS), tl.float32)
        for t in tl.static_range(T):
            before = tl.where(t3 == t, h[None], before)
            decay = tl.exp2(pick(step, t2, t)[None, :] * A2)
            h = decay * h + pick(entering, t2, t)[None, :] * pick(B_rows, t3, t)

        # Loaded once more, as the decays are computed once more below: kept, they would occupy too many registers. The
        # other way to the cache, and a factor of one, keep the compiler from using the first ones again.
        B_again = tl.load(B + b * B_batch + token[:, None] * B_ROW + n[None, :], row_mask, 0.0, cache_modifier=".cg")
        B_again = B_again.to(tl.float32)[:, :, None]
        dx, ddelta = tl.zeros((T, CHANNELS), tl.float32), tl.zeros((T, CHANNELS), tl.float32)
        for t in tl.static_range(T - 1, -1, -1):
            step_t, x_t, grad_t = pick(step, t2, t), pick(x, t2, t), pick(grad, t2, t)
            row = (block * tl.num_programs(2) + b) * L + tl.sum(tl.where(t1 == t, token, 0), axis=0)
            row_mask_t = n < tl.where(start + t < L, N, 0)
            dC = sum_over_channels(h * grad_t[None, :], CHANNELS, PRECISION)
            tl.store(grad_C + row * N + n, dC, mask=row_mask_t)

            grad_h += pick(C_rows, t3, t) * grad_t[None, :]
            dB = sum_over_channels(grad_h * (step_t * x_t)[None, :], CHANNELS, PRECISION)
            tl.store(grad_B + row * N + n, dB, mask=row_mask_t)
            grad_entering = tl.sum(grad_h * pick(B_again, t3, t), axis=0)

            h = pick(before, t3, t)
            grad_h *= tl.exp2((step_t * one)[None, :] * A2)
            grad_exponent = grad_h * h  # of step * A
            sum_A += grad_exponent * step_t[None, :]
            grad_step = tl.sum(grad_exponent * A2, axis=0) * LN2 + grad_entering * x_t
            ddelta += tl.where(t2 == t, grad_step[None, :], 0.0)
            dx += tl.where(t2 == t, (grad_entering * step_t)[None, :], 0.0)

        if SOFTPLUS:
            ddelta *= tl.sigmoid(raw)
        ddelta = tl.where(mask, ddelta, 0.0)
        sum_bias += tl.sum(ddelta, axis=0)
        sum_D += tl.sum(grad * x, axis=0)
        out = (b * L + token[:, None]) * E + e[None, :]
        tl.store(grad_delta + out, ddelta.to(grad_delta.dtype.element_ty), mask=mask)
        tl.store(grad_u + out, (dx + skip[None, :] * grad).to(grad_u.dtype.element_ty), mask=mask)
    tl.store(grad_A + of_chunk * N * E + cell, sum_A, mask=is_cell)
    tl.store(grad_D + of_chunk * E + e, sum_D, mask=is_channel)
    tl.store(grad_bias + of_chunk * E + e, sum_bias, mask=is_channel)
