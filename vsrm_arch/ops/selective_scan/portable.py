"""The selective scan in plain PyTorch, for any device: a scan of logarithmic depth, gradients by recomputation.

The tokens are taken in segments, one after the other; only a segment's states exist at a time. README.md beside this
file derives the recurrences and counts the memory.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrm_arch.ops.scan_order import Visit

__all__ = ["selective_scan_portable"]

# A segment holds at most 1/20 of the states: the backward pass keeps four tensors of that size, under a quarter in all.
_SEGMENTS = 20
# Larger segments do not run faster: on a CPU they leave the caches, on a GPU they fill the card.
_SEGMENT_STATES = {"cpu": 1 << 19, "other": 1 << 24}
_SHORTEST_SEGMENT = 16


def selective_scan_portable(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    scan_order: str,
    num_frames: int,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.selective_scan.selective_scan`."""
    visit = Visit(u.shape[1], scan_order, num_frames, reverse, u.device)
    result: Tensor = _SelectiveScan.apply(delta_softplus, visit, u, delta, A, B, C, D, z, delta_bias)
    return result


def _scan_(decay: Tensor, state: Tensor) -> None:
    """``state[t] += decay[t] * state[t - 1]`` for all t in turn, in ``2 log2(L)`` steps (Brent and Kung).

    Args:
        decay: ``(B, L, ...)``; destroyed.
        state: ``(B, L, ...)``: what enters at each step; on return the states.
    """
    if state.shape[1] == 1:
        return
    odd_decay, odd_state = decay[:, 1::2], state[:, 1::2]
    pairs = odd_state.shape[1]
    # Steps 2i and 2i + 1 become one step; what remains is the same scan, half as long.
    odd_state.addcmul_(odd_decay, state[:, : 2 * pairs : 2])
    odd_decay.mul_(decay[:, : 2 * pairs : 2])
    _scan_(odd_decay, odd_state)
    state[:, 2::2].addcmul_(decay[:, 2::2], state[:, 1:-1:2])


def _scan_back_(decay: Tensor, state: Tensor) -> None:
    """``state[t] += decay[t] * state[t + 1]`` from the end to the start: the mirror image of :func:`_scan_`.

    Args:
        decay: ``(B, L - 1, ...)``; destroyed.
        state: ``(B, L, ...)``, as there.
    """
    length = state.shape[1]
    if length == 1:
        return
    first = length % 2
    pair_decay, pair_state = decay[:, first::2], state[:, first::2]
    pair_state.addcmul_(pair_decay, state[:, first + 1 :: 2])
    pair_decay[:, :-1].mul_(decay[:, first + 1 :: 2])
    _scan_back_(pair_decay[:, :-1], pair_state)
    rest = slice(1 - first, length - 2, 2)
    state[:, rest].addcmul_(decay[:, rest], state[:, 2 - first : length - 1 : 2])


def _segment_length(u: Tensor, A: Tensor) -> int:
    """Steps per segment, see the constants above."""
    most = _SEGMENT_STATES["cpu" if u.device.type == "cpu" else "other"]
    return max(_SHORTEST_SEGMENT, min(u.shape[1] // _SEGMENTS, most // max(1, u.shape[0] * A.numel())))


def _outer(rows: Tensor, columns: Tensor) -> Tensor:
    """``(B, S, N)`` and ``(B, S, E)`` to ``(B, S, N, E)``."""
    return rows[..., None] * columns[:, :, None]


def _over_states(rows: Tensor, states: Tensor) -> Tensor:
    """Sum over N of ``(B, S, N)`` times ``(B, S, N, E)``."""
    return torch.matmul(rows[:, :, None], states)[:, :, 0]


def _over_channels(columns: Tensor, states: Tensor) -> Tensor:
    """Sum over E of ``(B, S, E)`` times ``(B, S, N, E)``; this way round it is the faster product on a CPU."""
    return torch.matmul(columns[:, :, None], states.transpose(2, 3))[:, :, 0]


def _empty_like(tokens: Tensor) -> Tensor:
    """Memory for an output or gradient of tokens; ``tokens`` may be a slice of something wider."""
    return torch.empty_like(tokens, memory_format=torch.contiguous_format)


class _Segment:
    """Steps ``first`` to ``last - 1`` in visiting order and in the state's dtype, and their states.

    Attributes:
        x: The inputs u, ``(B, S, E)``.
        raw: The time steps with their bias, ``(B, S, E)``.
        step: The time steps after the softplus.
        B: ``(B, S, N)``.
        C: ``(B, S, N)``.
    """

    def __init__(self, scan: "_Scan", first: int, last: int) -> None:
        self.scan, self.first, self.last = scan, first, last
        self.x, self.raw, self.B, self.C = (self.take(t) for t in (scan.u, scan.delta, scan.B, scan.C))
        if scan.bias is not None:
            self.raw = self.raw + scan.bias.to(scan.dtype)
        self.step = F.softplus(self.raw) if scan.softplus else self.raw

    def take(self, tokens: Tensor) -> Tensor:
        """The segment of ``tokens`` (B, L, ...), in the state's dtype."""
        return self.scan.visit.take(tokens, self.first, self.last).to(self.scan.dtype)

    def put(self, tokens: Tensor, values: Tensor) -> None:
        """Writes the segment of ``tokens``."""
        self.scan.visit.put(tokens, self.first, self.last, values)

    def decay(self) -> Tensor:
        """``exp(step * A)``, ``(B, S, N, E)``."""
        return torch.mul(self.step[:, :, None], self.scan.A2).exp2_()

    def states(self, decay: Tensor, start: Tensor) -> Tensor:
        """The states ``(B, S, N, E)`` after ``start`` (B, N, E); destroys ``decay``."""
        states = _outer(self.B, self.step * self.x)
        states[:, 0].addcmul_(decay[:, 0], start)
        _scan_(decay, states)
        return states

    def output(self, states: Tensor) -> Tensor:
        """The scan's output before the gate, ``(B, S, E)``."""
        y = _over_states(self.C, states)
        return y if self.scan.D is None else y.addcmul_(self.x, self.scan.D.to(y.dtype))


class _Scan:
    """The arguments of a scan, and what every segment shares."""

    def __init__(self, inputs: "_Inputs", softplus: bool, visit: Visit) -> None:
        self.u, self.delta, self.A, self.B, self.C, self.D, self.z, self.bias = inputs
        self.softplus, self.visit = softplus, visit
        self.dtype = torch.float64 if self.u.dtype == torch.float64 else torch.float32
        # exp(x) = exp2(x * log2(e)): PyTorch's exp2 is four times as fast as its exp on a CPU.
        self.A_t = self.A.to(self.dtype).t().contiguous()
        self.A2 = self.A_t * math.log2(math.e)
        length, segment = self.u.shape[1], _segment_length(self.u, self.A)
        self.spans = [(first, min(first + segment, length)) for first in range(0, length, segment)]

    def forward(self) -> tuple[Tensor, Tensor]:
        """The output and the state at the start of each segment, ``(segments, B, N, E)``."""
        out = _empty_like(self.u)
        starts = self.u.new_zeros(len(self.spans) + 1, self.u.shape[0], *self.A_t.shape, dtype=self.dtype)
        for i, span in enumerate(self.spans):
            segment = _Segment(self, *span)
            states = segment.states(segment.decay(), starts[i])
            starts[i + 1] = states[:, -1]
            y = segment.output(states)
            if self.z is not None:
                y.mul_(F.silu(segment.take(self.z)))
            segment.put(out, y)
        return out, starts[:-1]

    def backward(self, starts: Tensor, grad_out: Tensor) -> list[Tensor | None]:
        """The gradients of the eight inputs."""
        grad_u, grad_delta, grad_B, grad_C = (_empty_like(t) for t in (self.u, self.delta, self.B, self.C))
        grad_z = None if self.z is None else _empty_like(self.z)
        sum_A, sum_D, sum_bias = (torch.zeros_like(t) for t in (self.A_t, self.A_t[0], self.A_t[0]))
        # What the steps after the segment send back to its last state.
        carry = torch.zeros_like(starts[0])
        for i in reversed(range(len(self.spans))):
            segment = _Segment(self, *self.spans[i])
            x, step = segment.x, segment.step
            decay = segment.decay()
            scratch = decay.clone()
            states = segment.states(scratch, starts[i])

            grad = segment.take(grad_out)
            if self.z is not None and grad_z is not None:
                gate = segment.take(self.z)
                sigmoid = torch.sigmoid(gate)
                slope = sigmoid * (1 + gate * (1 - sigmoid))
                segment.put(grad_z, grad * segment.output(states) * slope)
                grad = grad * gate * sigmoid
            segment.put(grad_C, _over_channels(grad, states))

            # The part of each state that came from the state before it.
            kept = scratch
            torch.mul(decay[:, 1:], states[:, :-1], out=kept[:, 1:])
            torch.mul(decay[:, 0], starts[i], out=kept[:, 0])
            first_decay = decay[:, 0].clone()

            grad_states = _outer(segment.C, grad)
            grad_states[:, -1] += carry
            _scan_back_(decay[:, 1:], grad_states)
            carry = first_decay * grad_states[:, 0]

            grad_input = _over_states(segment.B, grad_states)
            segment.put(grad_B, _over_channels(step * x, grad_states))
            grad_x = grad_input * step
            if self.D is not None:
                grad_x.addcmul_(grad, self.D.to(grad.dtype))
                sum_D += (grad * x).sum((0, 1))
            segment.put(grad_u, grad_x)

            through_decay = kept.mul_(grad_states)
            sum_A += torch.mul(through_decay, step[:, :, None], out=states).sum((0, 1))
            grad_step = through_decay.mul_(self.A_t).sum(2).addcmul_(grad_input, x)
            if self.softplus:
                grad_step.mul_(torch.sigmoid(segment.raw))
            sum_bias += grad_step.sum((0, 1))
            segment.put(grad_delta, grad_step)

        grad_A = sum_A.t().to(self.A.dtype)
        grad_D = None if self.D is None else sum_D.to(self.D.dtype)
        grad_bias = None if self.bias is None else sum_bias.to(self.bias.dtype)
        return [grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_z, grad_bias]


_Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


class _SelectiveScan(torch.autograd.Function):
    """Saves its inputs and the state at the start of each segment."""

    @staticmethod
    def forward(ctx: Any, softplus: bool, visit: Visit, *inputs: Any) -> Tensor:
        scan = _Scan(inputs, softplus, visit)
        out, starts = scan.forward()
        ctx.save_for_backward(*inputs, starts)
        ctx.softplus, ctx.visit = softplus, visit
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        *inputs, starts = ctx.saved_tensors
        scan = _Scan(tuple(inputs), ctx.softplus, ctx.visit)
        return None, None, *scan.backward(starts, grad_outputs[0])
