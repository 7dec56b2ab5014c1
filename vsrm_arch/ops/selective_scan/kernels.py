"""The kernels of the fused selective scan; README.md beside this file explains their plan and counts their cost.

A program walks through one chunk of the visits with 32 channels, one a thread, and keeps their N states in registers.
Tokens are loaded a row at a time, never as a matrix: so every thread holds all that belongs to its channel, and no
value moves between threads but the rows of B and C. While a tile of a few tokens is worked on, the next one is loaded.
"""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import (
    LN2,
    LOG2E,
    cells_of,
    direction,
    inside,
    load_vector,
    rates,
    sigmoid,
    softplus,
    store_sums,
    visited_tokens,
)

__all__ = ["TILE", "carry_kernel", "gradients_kernel", "scan_kernel", "sensitivity_kernel"]

TILE = tl.constexpr(2)  # visits that are worked on at once; more would take registers from other programs


@triton.jit
def _words(row, N: tl.constexpr, STATES: tl.constexpr, WORD: tl.constexpr):
    """The addresses of a row of B or C, ``WORD`` states in each, and which of them are there."""
    word = tl.arange(0, STATES // WORD)
    if WORD == 2:
        row = row.to(tl.pointer_type(tl.int32))
    return (row + word, inside(word, N // WORD, STATES // WORD))


@triton.jit
def _states(row):
    """A row of B or C in float32."""
    if row.dtype == tl.int32:
        # Two bfloat16 of a word take an instruction each; two of their own take twice as many.
        low, high = (row << 16).to(tl.float32, bitcast=True), (row & -65536).to(tl.float32, bitcast=True)
        return tl.reshape(tl.join(low, high), (2 * row.shape[0],))
    else:
        return row.to(tl.float32)


@triton.jit
def _after_step(h, x, step, B_row, A2):
    """The state after a token."""
    return tl.exp2(step[None, :] * A2) * h + (step * x)[None, :] * B_row[:, None]


@triton.jit
def _tile(
    pointers, rows: tl.constexpr, T: tl.constexpr, start, last, L, frame, FRAMES: tl.constexpr, backwards
):  # fmt: skip
    """The rows of T visits, in the order of their visits: of each those of all pointers.

    ``pointers`` hold the columns' addresses in row 0 and which of them are there, ``rows`` the distances of rows.
    Behind the visit ``last`` it stands again.
    """
    tile = ()
    for t in tl.static_range(T):
        token = visited_tokens(tl.minimum(start + t, last), L, frame, FRAMES, backwards)
        for i in tl.static_range(len(rows)):
            tile = tile + (tl.load(pointers[2 * i] + token * rows[i], mask=pointers[2 * i + 1], other=0.0),)
    return tile


@triton.jit
def _steps(tile, rows: tl.constexpr, T: tl.constexpr, shift, start, last, SOFTPLUS: tl.constexpr):
    """Of each token x, delta with its bias, and the time step: zero after the last visit, so that nothing changes.

    Made for a whole tile at once, for one alone would have to wait for each of its operations.
    """
    tokens = ()
    for t in tl.static_range(T):
        raw = tile[t * len(rows) + 1].to(tl.float32) + shift
        step = tl.where(start + t <= last, softplus(raw) if SOFTPLUS else raw, 0.0)
        tokens = tokens + (tile[t * len(rows)].to(tl.float32), raw, step)
    return tokens


@triton.jit
def scan_kernel(
    u, delta, A, B, C, D, bias, states, durations, out, L, frame, chunk, batch, u_batch, delta_batch, B_batch, C_batch,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, FRAMES: tl.constexpr,
    OUTPUTS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, WORD: tl.constexpr,
):  # fmt: skip
    """Walks through a chunk.

    First from zero: leaves the state after the chunk in ``states`` (B, K, N, E) and its time in ``durations`` (B, K,
    E). Then, OUTPUTS, from ``states``, which now stand before the chunks: writes ``out`` (B, L, E).
    """
    c = tl.program_id(0)
    b, g, backwards = direction(batch, REVERSE)
    e, n = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = inside(e, E, CHANNELS), inside(n, N, STATES)
    is_cell = is_state[:, None] & is_channel[None, :]
    A2 = rates(A + g * E * N, e, n, is_channel, is_state, N)
    shift, skip = load_vector(bias, g * E + e, is_channel), load_vector(D, g * E + e, is_channel)

    of_chunk = (b * tl.num_programs(0) + c) * N * E + n[:, None] * E + e[None, :]
    h = tl.zeros((STATES, CHANNELS), tl.float32)
    if OUTPUTS:
        h = tl.load(cells_of(states, of_chunk), mask=is_cell, other=0.0)
    duration = tl.zeros((CHANNELS,), tl.float32)
    first = c * chunk
    last = tl.minimum(first + chunk, L) - 1
    # The first pass does not read C.
    rows: tl.constexpr = (U_ROW, DELTA_ROW, B_ROW // WORD, C_ROW // WORD)[: 4 if OUTPUTS else 3]
    pointers = (u + b * u_batch + e, is_channel, delta + b * delta_batch + e, is_channel)
    pointers += _words(B + b * B_batch, N, STATES, WORD) + _words(C + b * C_batch, N, STATES, WORD)
    tile = _tile(pointers, rows, TILE, first, last, L, frame, FRAMES, backwards)
    # Unrolled, the next rows need not be moved to where these are.
    for i in tl.range(0, tl.cdiv(last + 1 - first, TILE), loop_unroll_factor=2):
        start, now = first + i * TILE, tile
        tile = _tile(pointers, rows, TILE, start + TILE, last, L, frame, FRAMES, backwards)
        tokens = _steps(now, rows, TILE, shift, start, last, SOFTPLUS)
        for t in tl.static_range(TILE):
            x, step = tokens[3 * t], tokens[3 * t + 2]
            h = _after_step(h, x, step, _states(now[t * len(rows) + 2]), A2)
            if OUTPUTS:
                y = tl.sum(h * _states(now[t * len(rows) + 3])[:, None], axis=0) + skip * x
                token = visited_tokens(tl.minimum(start + t, last), L, frame, FRAMES, backwards)
                mask = e < tl.where(start + t <= last, E, 0)
                tl.store(out + (b * L + token) * E + e, y.to(out.dtype.element_ty), mask=mask)
            else:
                duration += step
    if not OUTPUTS:
        tl.store(cells_of(states, of_chunk), h, mask=is_cell)
        tl.store(durations + (b * tl.num_programs(0) + c) * E + e, duration, mask=is_channel)


@triton.jit
def _two_steps(first_decay, first_added, second_decay, second_added):
    """Two steps in a row are one step."""
    return first_decay * second_decay, second_decay * first_added + second_added


@triton.jit
def carry_kernel(
    A, added, durations, carried, K, batch,
    E: tl.constexpr, N: tl.constexpr, BACKWARD: tl.constexpr, T: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """From what each chunk adds to what stands before it (BACKWARD: after it), ``(B, K, N, E)``."""
    n = tl.program_id(0)
    b, g, _ = direction(batch, False)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = e < E
    A2 = tl.load(A + (g * E + e) * N + n, mask=is_channel, other=0.0) * LOG2E
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
def sensitivity_kernel(
    u, delta, A, B, C, bias, grad_out, states, durations, tile_states, sensitivities,
    L, frame, chunk, batch, u_batch, delta_batch, B_batch, C_batch,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, FRAMES: tl.constexpr,
    STATES: tl.constexpr, CHANNELS: tl.constexpr, WORD: tl.constexpr,
):  # fmt: skip
    """Walks through a chunk, given the state before it.

    Writes the gradient of the chunk's outputs by that state to ``sensitivities`` (B, K, N, E), its time to
    ``durations``, and the state before each tile to ``tile_states`` (B, L / TILE, N, E).
    """
    c = tl.program_id(0)
    b, g, backwards = direction(batch, REVERSE)
    e, n = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = inside(e, E, CHANNELS), inside(n, N, STATES)
    is_cell = is_state[:, None] & is_channel[None, :]
    A2 = rates(A + g * E * N, e, n, is_channel, is_state, N)
    shift = load_vector(bias, g * E + e, is_channel)

    cell = n[:, None] * E + e[None, :]
    of_chunk = (b * tl.num_programs(0) + c) * N * E + cell
    h = tl.load(cells_of(states, of_chunk), mask=is_cell, other=0.0)
    left = tl.full((STATES, CHANNELS), 1.0, tl.float32)  # of the state before the chunk
    sensitivity = tl.zeros((STATES, CHANNELS), tl.float32)
    duration = tl.zeros((CHANNELS,), tl.float32)
    first = c * chunk
    last = tl.minimum(first + chunk, L) - 1
    rows: tl.constexpr = (U_ROW, DELTA_ROW, B_ROW // WORD, C_ROW // WORD, E)
    pointers = (u + b * u_batch + e, is_channel, delta + b * delta_batch + e, is_channel)
    pointers += _words(B + b * B_batch, N, STATES, WORD) + _words(C + b * C_batch, N, STATES, WORD)
    pointers = pointers + (grad_out + b * L * E + e, is_channel)
    tile = _tile(pointers, rows, TILE, first, last, L, frame, FRAMES, backwards)
    for i in tl.range(0, tl.cdiv(last + 1 - first, TILE), loop_unroll_factor=2):
        start, now = first + i * TILE, tile
        tile = _tile(pointers, rows, TILE, start + TILE, last, L, frame, FRAMES, backwards)
        tokens = _steps(now, rows, TILE, shift, start, last, SOFTPLUS)
        of_tile = (b * tl.cdiv(L, TILE) + start // TILE) * N * E + cell
        tl.store(cells_of(tile_states, of_tile), h.to(tile_states.dtype.element_ty), mask=is_cell)
        for t in tl.static_range(TILE):
            x, step = tokens[3 * t], tokens[3 * t + 2]
            grad = tl.where(start + t <= last, now[5 * t + 4].to(tl.float32), 0.0)
            decay = tl.exp2(step[None, :] * A2)
            h = decay * h + (step * x)[None, :] * _states(now[5 * t + 2])[:, None]
            left *= decay
            sensitivity += left * (_states(now[5 * t + 3])[:, None] * grad[None, :])
            duration += step
    tl.store(cells_of(sensitivities, of_chunk), sensitivity, mask=is_cell)
    tl.store(durations + (b * tl.num_programs(0) + c) * E + e, duration, mask=is_channel)


@triton.jit
def gradients_kernel(
    u, delta, A, B, C, D, bias, grad_out, tile_states, grad_states,
    grad_u, grad_delta, grad_rows, grad_parameters,
    L, frame, chunk, batch, u_batch, delta_batch, B_batch, C_batch,
    U_ROW: tl.constexpr, DELTA_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    E: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, FRAMES: tl.constexpr,
    PRECISION: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, WORD: tl.constexpr,
):  # fmt: skip
    """Walks back through a chunk, given the state before each tile and the gradient by the state after the chunk.

    The gradients of B and C come as one summand a block of channels, in rows ``(blocks, B, L, 2 N)``, those of A, D and
    the bias as one summand a chunk, ``(B, K, N + 2, E)``.
    """
    c, block = tl.program_id(0), tl.program_id(1)
    b, g, backwards = direction(batch, REVERSE)
    e, n = block * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    is_channel, is_state = inside(e, E, CHANNELS), inside(n, N, STATES)
    is_cell = is_state[:, None] & is_channel[None, :]
    A2 = rates(A + g * E * N, e, n, is_channel, is_state, N)
    shift, skip = load_vector(bias, g * E + e, is_channel), load_vector(D, g * E + e, is_channel)

    cell = n[:, None] * E + e[None, :]
    of_chunk = b * tl.num_programs(0) + c
    grad_h = tl.load(cells_of(grad_states, of_chunk * N * E + cell), mask=is_cell, other=0.0)
    sum_A = tl.zeros((STATES, CHANNELS), tl.float32)
    sum_D, sum_bias = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32)

    of_block = (block * tl.num_programs(2) + b) * L
    first = c * chunk
    last = tl.minimum(first + chunk, L) - 1
    rows: tl.constexpr = (U_ROW, DELTA_ROW, B_ROW // WORD, C_ROW // WORD, E)
    pointers = (u + b * u_batch + e, is_channel, delta + b * delta_batch + e, is_channel)
    pointers += _words(B + b * B_batch, N, STATES, WORD) + _words(C + b * C_batch, N, STATES, WORD)
    pointers = pointers + (grad_out + b * L * E + e, is_channel)
    tiles = tl.cdiv(last + 1 - first, TILE)
    tile = _tile(pointers, rows, TILE, first + (tiles - 1) * TILE, last, L, frame, FRAMES, backwards)
    of_tile = (b * tl.cdiv(L, TILE) + first // TILE + tiles - 1) * N * E + cell
    next_h = tl.load(cells_of(tile_states, of_tile), mask=is_cell, other=0.0).to(tl.float32)
    for i in range(tiles):
        start, now, h = first + (tiles - 1 - i) * TILE, tile, next_h
        tile = _tile(pointers, rows, TILE, tl.maximum(start - TILE, first), last, L, frame, FRAMES, backwards)
        tokens = _steps(now, rows, TILE, shift, start, last, SOFTPLUS)
        # Forwards again, keeping the state before each token.
        before = ()
        for t in tl.static_range(TILE):
            before = before + (h,)
            h = _after_step(h, tokens[3 * t], tokens[3 * t + 2], _states(now[5 * t + 2]), A2)
            grad = tl.where(start + t <= last, now[5 * t + 4].to(tl.float32), 0.0)
            row = (of_block + visited_tokens(tl.minimum(start + t, last), L, frame, FRAMES, backwards)) * 2 * N
            is_visit = n < tl.where(start + t <= last, N, 0)
            store_sums(grad_rows + row + N + n, h * grad[None, :], is_visit, PRECISION, CHANNELS)

        for t in tl.static_range(TILE - 1, -1, -1):
            x, raw, step = tokens[3 * t], tokens[3 * t + 1], tokens[3 * t + 2]
            grad = tl.where(start + t <= last, now[5 * t + 4].to(tl.float32), 0.0)
            grad_h += _states(now[5 * t + 3])[:, None] * grad[None, :]
            token = visited_tokens(tl.minimum(start + t, last), L, frame, FRAMES, backwards)
            row = (of_block + token) * 2 * N
            is_visit = n < tl.where(start + t <= last, N, 0)
            store_sums(grad_rows + row + n, grad_h * (step * x)[None, :], is_visit, PRECISION, CHANNELS)
            grad_entering = tl.sum(grad_h * _states(now[5 * t + 2])[:, None], axis=0)
            grad_h *= tl.exp2(step[None, :] * A2)
            grad_exponent = grad_h * before[t]  # of step * A
            sum_A += grad_exponent * step[None, :]
            grad_raw = tl.sum(grad_exponent * A2, axis=0) * LN2 + grad_entering * x
            if SOFTPLUS:
                grad_raw *= sigmoid(raw)
            mask = e < tl.where(start + t <= last, E, 0)
            grad_raw = tl.where(mask, grad_raw, 0.0)
            cells = (b * L + token) * E + e
            tl.store(grad_delta + cells, grad_raw.to(grad_delta.dtype.element_ty), mask=mask)
            grad_x = grad_entering * step + skip * grad
            tl.store(grad_u + cells, grad_x.to(grad_u.dtype.element_ty), mask=mask)
            sum_bias += grad_raw
            sum_D += x * grad
        of_tile = (b * tl.cdiv(L, TILE) + tl.maximum(start - TILE, first) // TILE) * N * E + cell
        next_h = tl.load(cells_of(tile_states, of_tile), mask=is_cell, other=0.0).to(tl.float32)
    grad_parameters += of_chunk * (N + 2) * E
    tl.store(cells_of(grad_parameters, cell), sum_A, mask=is_cell)
    tl.store(grad_parameters + N * E + e, sum_D, mask=is_channel)
    tl.store(grad_parameters + (N + 1) * E + e, sum_bias, mask=is_channel)
