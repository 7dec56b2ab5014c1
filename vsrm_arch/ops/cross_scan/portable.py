"""The cross scan in plain PyTorch by its closed form, a block of points at a time; saves its inputs only."""

import math
from typing import Any

import torch
from torch import Tensor

from vsrm_arch.ops.softplus import softplus

__all__ = ["cross_scan_portable"]

# Elements (points, N, K - 1, E) of a block: on a CPU it should stay in the caches, on a GPU fill the card.
_BLOCK = {"cpu": 1 << 20, "other": 1 << 25}

_Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]


# The loop over blocks is not for the compiler: under torch.compile it runs as it is, between two graphs.
@torch.compiler.disable
def cross_scan_portable(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.cross_scan.cross_scan`."""
    result: Tensor = _CrossScan.apply(delta_softplus, u, delta, A, B, C, D, delta_bias)
    return result


def _empty_like(tokens: Tensor) -> Tensor:
    """Memory for a gradient of tokens, which may be a slice of something wider."""
    return torch.empty_like(tokens, memory_format=torch.contiguous_format)


class _Blocks:
    """The arguments of a cross scan, and what all blocks of points share."""

    def __init__(self, inputs: _Inputs, softplus: bool) -> None:
        self.u, self.delta, A, self.B, self.C, D, bias = inputs
        self.softplus = softplus
        dtype = torch.float64 if self.u.dtype == torch.float64 else torch.float32
        self.D, self.bias = (None if t is None else t.to(dtype) for t in (D, bias))
        self.A = A.to(dtype).t().contiguous()  # [N, E]
        # exp(x) = exp2(x log2(e)), and PyTorch's exp2 is four times as fast as its exp on a CPU.
        # Repeated for every token that decays: operations along (K - 1) E numbers at a time are quicker than along E.
        points, tokens, _ = self.u.shape
        self.A2 = (self.A * math.log2(math.e))[:, None].repeat(1, tokens - 1, 1)
        most = _BLOCK["cpu" if self.u.device.type == "cpu" else "other"]
        size = min(points, max(1, most // (tokens * A.numel())))
        self.slices = [slice(first, min(first + size, points)) for first in range(0, points, size)]
        self._size = size

    def decays(self) -> Tensor:
        """Memory for a block's decays, ``(P, N, K - 1, E)``."""
        return self.A.new_empty(self._size, *self.A2.shape)

    def tokens(self) -> Tensor:
        """Memory for what :class:`_Points` computes of a block's tokens, ``(3, P, K, E)``."""
        return self.A.new_empty(3, self._size, *self.u.shape[1:])


class _Points:
    """A block of points: the affinity of each target with its reference tokens.

    ``y = sum_t affinity_t entering_t + D u_K`` with ``affinity_te = sum_n exp(A_en after_te) B_tn C_n``, where
    ``entering = step * u`` and ``after_t`` is the time from token t to the end. The last token does not decay.

    Attributes:
        x: The reference tokens u, ``(P, K, E)``.
        raw: The time steps with their bias, ``(P, K, E)``.
        step: The time steps after the softplus.
        after: ``(P, K - 1, E)``.
        rows: B times C, ``(P, K, N)``.
        last_affinity: Of the last token, the same in all channels, ``(P, 1)``.
        decay: ``exp(A after)``, ``(P, N, K - 1, E)``.
    """

    def __init__(self, blocks: _Blocks, block: slice, decays: Tensor, tokens: Tensor) -> None:
        self.x, self.B, self.C = (t[block].to(blocks.A.dtype) for t in (blocks.u, blocks.B, blocks.C))
        count = self.x.shape[0]
        self.raw, step, entering = tokens[:, :count]
        torch.add(blocks.delta[block], 0 if blocks.bias is None else blocks.bias, out=self.raw)
        self.step = softplus(self.raw, out=step, scratch=entering) if blocks.softplus else self.raw
        self.entering = torch.mul(self.step, self.x, out=entering)
        self.rows = self.B * self.C[:, None]
        self.last_affinity = self.rows[:, -1].sum(1, keepdim=True)

        self.after = self.step[:, 1:].clone()
        for t in reversed(range(self.after.shape[1] - 1)):
            self.after[:, t] += self.after[:, t + 1]
        self.decay = torch.mul(self.after[:, None], blocks.A2, out=decays[:count]).exp2_()

    def weigh(self) -> Tensor:
        """Turns the decays into ``exp(A after) B C`` and returns the affinity of all tokens but the last."""
        return self.decay.mul_(self.rows[:, :-1].transpose(1, 2)[..., None]).sum(1)  # [P, K - 1, E]


class _CrossScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, softplus: bool, *inputs: Any) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.softplus = softplus
        blocks = _Blocks(inputs, softplus)
        decays, tokens = blocks.decays(), blocks.tokens()
        out = blocks.u.new_empty(blocks.u.shape[0], blocks.u.shape[2])
        for block in blocks.slices:
            points = _Points(blocks, block, decays, tokens)
            y = points.weigh().mul_(points.entering[:, :-1]).sum(1)
            y.addcmul_(points.last_affinity, points.entering[:, -1])
            if blocks.D is not None:
                y.addcmul_(points.x[:, -1], blocks.D)
            out[block] = y
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        inputs: _Inputs = ctx.saved_tensors
        u, delta, A, B, C, D, bias = inputs
        with torch.autocast(u.device.type, enabled=False):
            blocks = _Blocks(inputs, ctx.softplus)
            grad_u, grad_delta, grad_B, grad_C = (_empty_like(t) for t in (u, delta, B, C))
            grad_A, grad_D, grad_bias = (torch.zeros_like(t) for t in (blocks.A, blocks.A[0], blocks.A[0]))
            decays, tokens, scratch = blocks.decays(), blocks.tokens(), blocks.decays()
            for block in blocks.slices:
                points = _Points(blocks, block, decays, tokens)
                grad = grad_outputs[0][block].to(blocks.A.dtype)

                grad_affinity = points.entering * grad[:, None]
                grad_rows = torch.empty_like(points.rows)
                part = scratch[: grad.shape[0]]
                torch.mul(points.decay, grad_affinity[:, None, :-1], out=part)
                grad_rows[:, :-1] = part.sum(-1).transpose(1, 2)
                grad_rows[:, -1] = grad_affinity[:, -1].sum(1, keepdim=True)
                grad_B[block] = grad_rows * points.C[:, None]
                grad_C[block] = (grad_rows * points.B).sum(1)

                grad_entering = torch.empty_like(points.x)
                torch.mul(points.weigh(), grad[:, None], out=grad_entering[:, :-1])
                torch.mul(points.last_affinity, grad, out=grad_entering[:, -1])
                grad_x = grad_entering * points.step
                if blocks.D is not None:
                    grad_x[:, -1].addcmul_(grad, blocks.D)
                    grad_D += (grad * points.x[:, -1]).sum(0)
                grad_u[block] = grad_x

                # Through the decays: grad_affinity stands outside the sum over the states.
                grad_affinity, weighted = grad_affinity[:, :-1], points.decay
                grad_A += torch.mul(weighted, (grad_affinity * points.after)[:, None], out=part).sum((0, 2))
                grad_after = weighted.mul_(blocks.A[:, None]).sum(1).mul_(grad_affinity)
                grad_step = grad_entering.mul_(points.x)
                # A step passes after every token before it.
                for t in range(1, grad_after.shape[1]):
                    grad_after[:, t] += grad_after[:, t - 1]
                grad_step[:, 1:] += grad_after
                if ctx.softplus:
                    grad_step.mul_(torch.sigmoid(points.raw))
                grad_bias += grad_step.sum((0, 1))
                grad_delta[block] = grad_step
        optional = (None if t is None else g.to(t.dtype) for t, g in ((D, grad_D), (bias, grad_bias)))
        return None, grad_u, grad_delta, grad_A.t().to(A.dtype), grad_B, grad_C, *optional
