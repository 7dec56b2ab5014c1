"""The selective scan in plain PyTorch, for any device: a scan of logarithmic depth, gradients by recomputation.

The tokens are taken in segments, one after the other; only a segment's states exist at a time. README.md beside this
file derives the recurrences and counts the memory.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrm_arch.ops.contractions import over_channels, over_states
from vsrm_arch.ops.linear_scan import LinearScan
from vsrm_arch.ops.scan_order import Visit
from vsrm_arch.ops.softplus import softplus

__all__ = ["selective_scan_portable"]

# What a pass holds of a segment, per channel and state: its buffers, and beside them tensors without N or without E.
# Segments are cut so that all of it stays under this share of all states in float32.
_SHARE = 0.25
_HELD = {"forward": (2, 9, 5), "backward": (3, 22, 8)}
# States of a segment. Smaller ones save little memory and take long, for each has the same number of operations. Larger
# ones do not run faster: on a CPU they leave the caches, on a GPU they fill the card.
_LEAST_STATES = 1 << 19
_MOST_STATES = {"cpu": 1 << 19, "other": 1 << 24}
_SHORTEST_SEGMENT = 16

_Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


# The loop over segments is not for the compiler: under torch.compile it runs as it is, between two graphs.
@torch.compiler.disable
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
    visit = Visit(u.shape[1], scan_order, num_frames, reverse)
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    if not torch.is_grad_enabled():
        return _Scan(inputs, delta_softplus, visit, backward=False).forward()[0]
    result: Tensor = _SelectiveScan.apply(delta_softplus, visit, *inputs)
    return result


def _empty_like(tokens: Tensor) -> Tensor:
    """Memory for an output or a gradient of tokens, which may be a slice of something wider."""
    return torch.empty_like(tokens, memory_format=torch.contiguous_format)


class _Rows(NamedTuple):
    """Views of ``S + 1`` rows, between which the S steps of a segment lead.

    Attributes:
        entry: The row before the first step, ``(B, N, E)``.
        exit: The row after the last step.
        before: The rows before each step, ``(S, B, N, E)``.
        after: The rows after each step.
    """

    entry: Tensor
    exit: Tensor
    before: Tensor
    after: Tensor

    @classmethod
    def of(cls, rows: Tensor, reverse: bool) -> "_Rows":
        """The views for steps from the first row to the last, or in reverse."""
        if reverse:
            return cls(rows[-1], rows[0], rows[1:], rows[:-1])
        return cls(rows[0], rows[-1], rows[:-1], rows[1:])


class _Buffers:
    """Memory for one segment after the other, and the recurrences over it: new memory costs more than the arithmetic.

    The states lie as ``(S, B, N, E)``, so that every operation runs along the channels. Step t leads between the rows
    t and t + 1 and scales by ``decay[t]``. ``grads`` holds the gradients of the same rows. ``raw``, ``step`` and
    ``entering`` are what :class:`_Segment` fills in.
    """

    def __init__(self, scan: "_Scan", backward: bool) -> None:
        self._row, self._reverse = (scan.u.shape[0], *scan.A.shape), scan.visit.reverse
        rows = (scan.segment, scan.segment + 1, scan.segment + 1)[: 3 if backward else 2]
        self._memory = [scan.A.new_empty(count, *self._row) for count in rows]
        self._tokens = scan.A.new_empty(3, scan.segment, scan.u.shape[0], scan.A.shape[1])
        self._length = 0

    def resize(self, length: int) -> None:
        """Makes the views for a segment of ``length`` steps; only one segment differs."""
        if length == self._length:
            return
        self._length = length
        self.raw, self.step, self.entering = self._tokens[:, :length]
        self.decay, states = self._memory[0][:length], self._memory[1][: length + 1]
        self.states = _Rows.of(states, self._reverse)
        if len(self._memory) == 2:
            self.links = self.decay
        else:
            grads = self._memory[2][: length + 1]
            self.grads = _Rows.of(grads, self._reverse)
            # The first recurrence destroys a copy of the decays, in memory that the gradients need only later.
            self.links = self.scratch = grads[:length]
            self.scan_back = LinearScan(self.decay, grads, mirrored=not self._reverse)
        self.scan = LinearScan(self.links, states, mirrored=self._reverse)


class _Segment:
    """Some steps of a scan, as the order counts them and in the state's dtype.

    Attributes:
        x: The inputs u, ``(S, B, E)``.
        raw: The time steps with their bias, ``(S, B, E)``.
        step: The time steps after the softplus.
        entering: What u brings into the state, but for B: ``step * x``.
        B: ``(S, B, N)``.
        C: ``(S, B, N)``.
    """

    def __init__(self, scan: "_Scan", buffers: _Buffers, first: int, last: int) -> None:
        buffers.resize(last - first)
        self._visit, self._dtype, self._span = scan.visit, scan.A.dtype, (first, last)
        self.x, self.B, self.C = (self.take(t) for t in (scan.u, scan.B, scan.C))
        self.raw = torch.add(self.take(scan.delta), 0 if scan.bias is None else scan.bias, out=buffers.raw)
        self.step = softplus(self.raw, out=buffers.step, scratch=buffers.entering) if scan.softplus else self.raw
        self.entering = torch.mul(self.step, self.x, out=buffers.entering)

    def take(self, tokens: Tensor) -> Tensor:
        """These steps of ``tokens`` (B, L, ...), as (S, B, ...)."""
        return self._visit.take(tokens, *self._span).transpose(0, 1).to(self._dtype)

    def put(self, tokens: Tensor, values: Tensor) -> None:
        """Writes these steps of ``tokens``."""
        self._visit.put(tokens, *self._span, values.transpose(0, 1))


class _Scan:
    """The arguments of a scan, and what all its segments share."""

    def __init__(self, inputs: _Inputs, softplus: bool, visit: Visit, backward: bool) -> None:
        self.u, self.delta, A, self.B, self.C, D, self.z, bias = inputs
        self.softplus, self.visit = softplus, visit
        dtype = torch.float64 if self.u.dtype == torch.float64 else torch.float32
        self.D, self.bias = (None if t is None else t.to(dtype) for t in (D, bias))
        self.A = A.to(dtype).t().contiguous()  # [N, E]
        # exp(x) = exp2(x log2(e)), and PyTorch's exp2 is four times as fast as its exp on a CPU.
        self.A2 = self.A * math.log2(math.e)
        batch, length, _ = self.u.shape
        states, channels = self.A.shape
        buffers, without_states, without_channels = _HELD["backward" if backward else "forward"]
        held = buffers + without_states / states + without_channels / channels
        most = _MOST_STATES["cpu" if self.u.device.type == "cpu" else "other"] // (batch * A.numel())
        least = max(_SHORTEST_SEGMENT, _LEAST_STATES // (batch * A.numel()))
        self.segment = min(length, max(least, min(int(length * _SHARE / held), most)))
        # In the order of the visits.
        self.spans = [(first, min(first + self.segment, length)) for first in range(0, length, self.segment)]
        if visit.reverse:
            self.spans.reverse()

    def _states(self, segment: _Segment, buffers: _Buffers, before: Tensor) -> None:
        """Fills the buffers with a segment's decays and states, given the state before it."""
        torch.mul(segment.step[:, :, None], self.A2, out=buffers.decay).exp2_()
        buffers.states.entry.copy_(before)
        torch.mul(segment.B[..., None], segment.entering[:, :, None], out=buffers.states.after)
        if buffers.links is not buffers.decay:
            buffers.links.copy_(buffers.decay)
        buffers.scan.run()

    def _output(self, segment: _Segment, states: Tensor, scratch: Tensor) -> Tensor:
        """The scan's output before the gate, ``(S, B, E)``."""
        y = over_states(segment.C, states, scratch)
        return y if self.D is None else y.addcmul_(segment.x, self.D)

    def forward(self) -> tuple[Tensor, Tensor]:
        """The output and the state before each segment, ``(segments, B, N, E)``."""
        out, buffers = _empty_like(self.u), _Buffers(self, backward=False)
        before = self.A.new_zeros(len(self.spans) + 1, self.u.shape[0], *self.A.shape)
        for i, (first, last) in enumerate(self.spans):
            segment = _Segment(self, buffers, first, last)
            self._states(segment, buffers, before[i])
            before[i + 1] = buffers.states.exit
            y = self._output(segment, buffers.states.after, scratch=buffers.states.after)
            if self.z is not None:
                y.mul_(F.silu(segment.take(self.z)))
            segment.put(out, y)
        return out, before[:-1]

    def backward(self, before: Tensor, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the eight inputs; README.md derives them."""
        grad_u, grad_delta, grad_B, grad_C = (_empty_like(t) for t in (self.u, self.delta, self.B, self.C))
        grad_z = None if self.z is None else _empty_like(self.z)
        grad_A, grad_D, grad_bias = (torch.zeros_like(t) for t in (self.A, self.A[0], self.A[0]))
        # The gradient of the state after the segment, as the steps behind it send it back.
        after = torch.zeros_like(before[0])
        buffers = _Buffers(self, backward=True)
        for i in reversed(range(len(self.spans))):
            first, last = self.spans[i]
            segment = _Segment(self, buffers, first, last)
            self._states(segment, buffers, before[i])
            decay, states, grads, scratch = buffers.decay, buffers.states, buffers.grads, buffers.scratch

            grad = segment.take(grad_out)
            if self.z is not None and grad_z is not None:
                gate = segment.take(self.z)
                sigmoid = torch.sigmoid(gate)
                silu = gate * sigmoid
                # silu' = s + z s (1 - s) = s (1 - silu) + silu
                slope = sigmoid.addcmul_(sigmoid, silu, value=-1).add_(silu)
                segment.put(grad_z, self._output(segment, states.after, scratch).mul_(grad).mul_(slope))
                grad = grad * silu
            segment.put(grad_C, over_channels(grad, states.after))

            # What is left of each state after the next step's decay; its gradient is that of the next state.
            kept = states.before.mul_(decay)
            grads.entry.zero_()
            torch.mul(segment.C[..., None], grad[:, :, None], out=grads.after)
            grads.exit.add_(after)
            buffers.scan_back.run()
            after.copy_(grads.entry)

            grad_entering = over_states(segment.B, grads.after, scratch=decay)
            segment.put(grad_B, over_channels(segment.entering, grads.after))
            grad_x = grad_entering * segment.step
            if self.D is not None:
                grad_x.addcmul_(grad, self.D)
                grad_D += (grad * segment.x).sum((0, 1))
            segment.put(grad_u, grad_x)

            # The gradient of the exponents step * A.
            exponents = kept.mul_(grads.after)
            grad_A += torch.mul(exponents, segment.step[:, :, None], out=decay).sum((0, 1))
            grad_step = exponents.mul_(self.A).sum(2).addcmul_(grad_entering, segment.x)
            if self.softplus:
                grad_step.mul_(torch.sigmoid(segment.raw))
            grad_bias += grad_step.sum((0, 1))
            segment.put(grad_delta, grad_step)
        return grad_u, grad_delta, grad_A.t(), grad_B, grad_C, grad_D, grad_z, grad_bias


class _SelectiveScan(torch.autograd.Function):
    """Saves its inputs and the state before each segment."""

    @staticmethod
    def forward(ctx: Any, softplus: bool, visit: Visit, *inputs: Any) -> Tensor:
        out, before = _Scan(inputs, softplus, visit, backward=True).forward()
        ctx.save_for_backward(*inputs, before)
        ctx.softplus, ctx.visit = softplus, visit
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        *inputs, before = ctx.saved_tensors
        with torch.autocast(before.device.type, enabled=False):
            scan = _Scan(tuple(inputs), ctx.softplus, ctx.visit, backward=True)
            grads = scan.backward(before, grad_outputs[0])
        cast = (None if t is None or g is None else g.to(t.dtype) for t, g in zip(inputs, grads, strict=True))
        return None, None, *cast
