"""The kernels of the fused causal convolution.

A program walks through the visits of a chunk with some channels and keeps the last K rows in registers, so that each
row is loaded once. While a few visits are worked on, the rows of the next are loaded.
"""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import direction, inside, load_vector, sigmoid, visited_tokens

__all__ = ["backward_kernel", "forward_kernel"]

_TILE = tl.constexpr(4)


@triton.jit
def _rows(
    pointer, first, T: tl.constexpr, L, frame, mask, ROW: tl.constexpr, FRAMES: tl.constexpr, backwards
):  # fmt: skip
    """The rows of T visits; before the first and after the last of the sequence, some other row."""
    rows = ()
    for t in tl.static_range(T):
        visit = tl.minimum(tl.maximum(first + t, 0), L - 1)
        token = visited_tokens(visit, L, frame, FRAMES, backwards)
        rows = rows + (tl.load(pointer + token * ROW, mask=mask, other=0.0),)
    return rows


@triton.jit
def _pushed(window, row, K: tl.constexpr):
    """The last K rows."""
    pushed = ()
    for k in tl.static_range(1, K):
        pushed = pushed + (window[k],)
    return pushed + (row,)


@triton.jit
def _taps(taps, e, is_channel, K: tl.constexpr):
    vectors = ()
    for k in tl.static_range(K):
        vectors = vectors + (load_vector(taps + k, e * K, is_channel),)
    return vectors


@triton.jit
def _zeros(e, K: tl.constexpr):
    zeros = ()
    for _ in tl.static_range(K):
        zeros = zeros + (tl.zeros(e.shape, tl.float32),)
    return zeros


@triton.jit
def _dot(vectors, window, start, K: tl.constexpr):
    """``start`` and the sum of the products."""
    for k in tl.static_range(K):
        start += vectors[k] * window[k]
    return start


@triton.jit
def forward_kernel(
    x, taps, bias, out, L, frame, chunk, batch, x_batch,
    ROW: tl.constexpr, E: tl.constexpr, K: tl.constexpr, SILU: tl.constexpr,
    FRAMES: tl.constexpr, REVERSE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The output ``(G B, L, E)`` of G taps ``(G, E, K)`` on x ``(B, L, E)``."""
    chunks = tl.cdiv(L, chunk)
    first = tl.program_id(0) % chunks * chunk
    b, g, backwards = direction(tl.program_id(0) // chunks, batch, REVERSE)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = inside(e, E, CHANNELS)
    vectors = _taps(taps + g * E * K, e, is_channel, K)
    shift = load_vector(bias, g * E + e, is_channel)
    x += b % batch * x_batch + e
    window = _zeros(e, K)
    for k in tl.static_range(K - 1):
        seen = first - (K - 1) + k
        row = _rows(x, seen, 1, L, frame, is_channel, ROW, FRAMES, backwards)[0].to(tl.float32)
        window = _pushed(window, tl.where(seen >= 0, row, 0.0), K)
    rows = _rows(x, first, _TILE, L, frame, is_channel, ROW, FRAMES, backwards)
    for start in range(first, tl.minimum(first + chunk, L), _TILE):
        now = rows
        rows = _rows(x, start + _TILE, _TILE, L, frame, is_channel, ROW, FRAMES, backwards)
        for t in tl.static_range(_TILE):
            window = _pushed(window, now[t].to(tl.float32), K)
            y = _dot(vectors, window, shift, K)
            y = y * sigmoid(y) if SILU else y
            token = visited_tokens(tl.minimum(start + t, L - 1), L, frame, FRAMES, backwards)
            mask = e < tl.where(start + t < L, E, 0)
            tl.store(out + (b * L + token) * E + e, y.to(out.dtype.element_ty), mask=mask)


@triton.jit
def backward_kernel(
    x, taps, bias, grad_out, grad_x, grad_parameters, L, frame, chunk, batch, x_batch,
    ROW: tl.constexpr, E: tl.constexpr, K: tl.constexpr, SILU: tl.constexpr,
    FRAMES: tl.constexpr, REVERSE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of x, ``(G B, L, E)``, and of taps and bias one summand a program, ``(G B, chunks, K + 1, E)``."""
    chunks = tl.cdiv(L, chunk)
    first = tl.program_id(0) % chunks * chunk
    end = tl.minimum(first + chunk, L)
    b, g, backwards = direction(tl.program_id(0) // chunks, batch, REVERSE)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = inside(e, E, CHANNELS)
    vectors = _taps(taps + g * E * K, e, is_channel, K)
    shift = load_vector(bias, g * E + e, is_channel)
    x += b % batch * x_batch + e
    grad_out += b * L * E + e
    window, grads, sums = _zeros(e, K), _zeros(e, K), _zeros(e, K + 1)
    for k in tl.static_range(K - 1):
        seen = first - (K - 1) + k
        row = _rows(x, seen, 1, L, frame, is_channel, ROW, FRAMES, backwards)[0].to(tl.float32)
        window = _pushed(window, tl.where(seen >= 0, row, 0.0), K)
    rows = _rows(x, first, _TILE, L, frame, is_channel, ROW, FRAMES, backwards)
    grad_rows = _rows(grad_out, first, _TILE, L, frame, is_channel, E, FRAMES, backwards)
    # A row reaches the K - 1 outputs visited after it: its gradient is whole when these have been seen.
    for start in range(first, end + K - 1, _TILE):
        now, grad_now = rows, grad_rows
        rows = _rows(x, start + _TILE, _TILE, L, frame, is_channel, ROW, FRAMES, backwards)
        grad_rows = _rows(grad_out, start + _TILE, _TILE, L, frame, is_channel, E, FRAMES, backwards)
        for t in tl.static_range(_TILE):
            window = _pushed(window, now[t].to(tl.float32), K)
            grad = tl.where(start + t < L, grad_now[t].to(tl.float32), 0.0)
            if SILU:
                y = _dot(vectors, window, shift, K)
                share = sigmoid(y)
                grad *= share * (1.0 + y * (1.0 - share))
            grads = _pushed(grads, grad, K)
            own = tl.where(start + t < end, grad, 0.0)
            summed = ()
            for k in tl.static_range(K):
                summed = summed + (sums[k] + own * window[k],)
            sums = summed + (sums[K] + own,)
            grad_row = tl.zeros(e.shape, tl.float32)
            for k in tl.static_range(K):
                grad_row += vectors[K - 1 - k] * grads[k]
            visit = start + t - (K - 1)
            token = visited_tokens(tl.minimum(tl.maximum(visit, 0), L - 1), L, frame, FRAMES, backwards)
            mask = e < tl.where((visit >= first) & (visit < end), E, 0)
            tl.store(grad_x + (b * L + token) * E + e, grad_row.to(grad_x.dtype.element_ty), mask=mask)
    grad_parameters += tl.program_id(0).to(tl.int64) * (K + 1) * E + e
    for k in tl.static_range(K + 1):
        tl.store(grad_parameters + k * E, sums[k], mask=is_channel)
