"""The kernels of the fused causal convolution. A program takes a tile of visits and of channels."""

import triton
import triton.language as tl

from vsrm_arch.ops.kernel_parts import direction, load_rows, load_vector, visited_tokens

__all__ = ["backward_kernel", "forward_kernel"]


@triton.jit
def _convolve(
    x, taps, shift, visit, e, is_channel, L, frame,
    ROW: tl.constexpr, K: tl.constexpr, FRAMES: tl.constexpr, backwards,
):  # fmt: skip
    """The sum before the activation, ``(T, channels)``."""
    y = tl.zeros((visit.shape[0], e.shape[0]), tl.float32) + shift[None, :]
    for k in tl.static_range(K):
        seen = visit - (K - 1) + k
        mask = ((seen >= 0) & (seen < L))[:, None] & is_channel[None, :]
        rows = load_rows(x, visited_tokens(seen, L, frame, FRAMES, backwards), e, mask, ROW)
        y += rows * load_vector(taps + k, e * K, is_channel)[None, :]
    return y


@triton.jit
def forward_kernel(
    x, taps, bias, out, L, frame, batch, x_batch,
    ROW: tl.constexpr, E: tl.constexpr, K: tl.constexpr, SILU: tl.constexpr,
    FRAMES: tl.constexpr, REVERSE: tl.constexpr, T: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The output ``(G B, L, E)`` of G taps ``(G, E, K)`` on x ``(B, L, E)``."""
    visit = tl.program_id(0) * T + tl.arange(0, T)
    b, g, backwards = direction(batch, REVERSE)
    taps += g * E * K
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = e < E
    shift = load_vector(bias, g * E + e, is_channel)
    y = _convolve(x + b % batch * x_batch, taps, shift, visit, e, is_channel, L, frame, ROW, K, FRAMES, backwards)
    y = y * tl.sigmoid(y) if SILU else y
    token = visited_tokens(visit, L, frame, FRAMES, backwards)
    mask = (visit < L)[:, None] & is_channel[None, :]
    tl.store(out + (b * L + token[:, None]) * E + e[None, :], y.to(out.dtype.element_ty), mask=mask)


@triton.jit
def backward_kernel(
    x, taps, bias, grad_out, grad_x, grad_taps, grad_bias, L, frame, batch, x_batch,
    ROW: tl.constexpr, E: tl.constexpr, K: tl.constexpr, SILU: tl.constexpr,
    FRAMES: tl.constexpr, REVERSE: tl.constexpr, T: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradients of x, ``(G B, L, E)``, and, a summand a program, of taps and bias, for each of G directions."""
    visit = tl.program_id(0) * T + tl.arange(0, T)
    b, g, backwards = direction(batch, REVERSE)
    taps += g * E * K
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = e < E
    shift = load_vector(bias, g * E + e, is_channel)
    x, grad_out = x + b % batch * x_batch, grad_out + b * L * E
    part = b * tl.num_programs(0) + tl.program_id(0)

    grad_rows = tl.zeros((T, CHANNELS), tl.float32)
    # A token reaches the K - 1 visited after it.
    for j in tl.static_range(K):
        later = visit + j
        mask = (later < L)[:, None] & is_channel[None, :]
        grad = load_rows(grad_out, visited_tokens(later, L, frame, FRAMES, backwards), e, mask, E)
        if SILU:
            y = _convolve(x, taps, shift, later, e, is_channel, L, frame, ROW, K, FRAMES, backwards)
            sigmoid = tl.sigmoid(y)
            grad *= sigmoid * (1.0 + y * (1.0 - sigmoid))
        grad_rows += grad * load_vector(taps + K - 1 - j, e * K, is_channel)[None, :]
        if j == 0:
            tl.store(grad_bias + part * E + e, tl.sum(grad, axis=0), mask=is_channel)
            for k in tl.static_range(K):
                seen = visit - (K - 1) + k
                mask_k = ((seen >= 0) & (seen < L))[:, None] & is_channel[None, :]
                rows = load_rows(x, visited_tokens(seen, L, frame, FRAMES, backwards), e, mask_k, ROW)
                tl.store(grad_taps + (part * E + e) * K + k, tl.sum(grad * rows, axis=0), mask=is_channel)
    token = visited_tokens(visit, L, frame, FRAMES, backwards)
    mask = (visit < L)[:, None] & is_channel[None, :]
    tl.store(grad_x + (b * L + token[:, None]) * E + e[None, :], grad_rows.to(grad_x.dtype.element_ty), mask=mask)
