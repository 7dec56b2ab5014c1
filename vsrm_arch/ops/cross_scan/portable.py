"""The cross scan in plain PyTorch by its closed form, a block of points at a time; saves its inputs only."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cross_scan_portable"]

# Elements (points, K - 1, N, E) of a block: on a CPU it should stay in the caches, on a GPU fill the card.
_BLOCK = {"cpu": 1 << 19, "other": 1 << 25}

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


class _Points:
    """A block of points: the affinity of each target with each of its reference tokens.

    ``y = sum_t affinity_t input_t + D u_K`` with ``affinity_te = sum_n exp(A_en after_te) B_tn C_n``, where ``after_t``
    is the time that passes from token t to the end.
    """

    def __init__(self, inputs: _Inputs, A2: Tensor, softplus: bool, block: slice) -> None:
        u, delta, _, B, C, _, bias = inputs
        dtype = A2.dtype
        self.x, self.raw, self.B, self.C = (t[block].to(dtype) for t in (u, delta, B, C))
        if bias is not None:
            self.raw = self.raw + bias.to(dtype)
        self.step = F.softplus(self.raw) if softplus else self.raw
        self.input = self.step * self.x
        self.after = self.step.flip(1).cumsum(1).flip(1)[:, 1:]
        self.rows = self.B * self.C[:, None]
        # The last token is read as it enters: only the ones before it decay.
        self.decay = torch.mul(self.after[:, :, None], A2).exp2_()
        affinity = torch.matmul(self.rows[:, :-1, None], self.decay)[:, :, 0]
        last = self.rows[:, -1:].sum(2, keepdim=True).expand(-1, -1, self.x.shape[2])
        self.affinity = torch.cat((affinity, last), dim=1)


def _blocks(u: Tensor, A: Tensor) -> list[slice]:
    most = _BLOCK["cpu" if u.device.type == "cpu" else "other"]
    points = max(1, most // (u.shape[1] * A.numel()))
    return [slice(first, first + points) for first in range(0, u.shape[0], points)]


def _state_dtype(u: Tensor) -> torch.dtype:
    return torch.float64 if u.dtype == torch.float64 else torch.float32


class _CrossScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, softplus: bool, *inputs: Any) -> Tensor:
        u, _, A, _, _, D, _ = inputs
        ctx.save_for_backward(*inputs)
        ctx.softplus = softplus
        A2 = A.to(_state_dtype(u)).t().contiguous() * math.log2(math.e)
        out = u.new_empty(u.shape[0], u.shape[2])
        for block in _blocks(u, A):
            points = _Points(inputs, A2, softplus, block)
            y = (points.affinity * points.input).sum(1)
            if D is not None:
                y.addcmul_(points.x[:, -1], D.to(y.dtype))
            out[block] = y
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        inputs: _Inputs = ctx.saved_tensors
        u, delta, A, B, C, D, bias = inputs
        dtype = _state_dtype(u)
        A_t = A.to(dtype).t().contiguous()
        A2 = A_t * math.log2(math.e)
        grad_u, grad_delta, grad_B, grad_C = (
            torch.empty_like(t, memory_format=torch.contiguous_format) for t in (u, delta, B, C)
        )
        sum_A, sum_D, sum_bias = torch.zeros_like(A_t), torch.zeros_like(A_t[0]), torch.zeros_like(A_t[0])
        for block in _blocks(u, A):
            points = _Points(inputs, A2, ctx.softplus, block)
            grad = grad_outputs[0][block].to(dtype)[:, None]

            grad_input = grad * points.affinity
            grad_x = grad_input * points.step
            if D is not None:
                grad_x[:, -1].addcmul_(grad[:, 0], D.to(dtype))
                sum_D += (grad[:, 0] * points.x[:, -1]).sum(0)
            grad_u[block] = grad_x

            grad_affinity = grad * points.input
            before = grad_affinity[:, :-1]
            grad_rows = torch.cat(
                (
                    torch.matmul(before[:, :, None], points.decay.transpose(2, 3))[:, :, 0],
                    grad_affinity[:, -1:].sum(2, keepdim=True).expand(-1, -1, B.shape[2]),
                ),
                dim=1,
            )
            grad_B[block] = grad_rows * points.C[:, None]
            grad_C[block] = (grad_rows * points.B).sum(1)

            weighted = points.decay.mul_(points.rows[:, :-1, :, None])
            sum_A += (weighted * (before * points.after)[:, :, None]).sum((0, 1))
            grad_after = before * weighted.mul_(A_t).sum(2)
            grad_step = grad_input * points.x
            grad_step[:, 1:] += grad_after.cumsum(1)
            if ctx.softplus:
                grad_step.mul_(torch.sigmoid(points.raw))
            sum_bias += grad_step.sum((0, 1))
            grad_delta[block] = grad_step
        grad_D = None if D is None else sum_D.to(D.dtype)
        grad_bias = None if bias is None else sum_bias.to(bias.dtype)
        return None, grad_u, grad_delta, sum_A.t().to(A.dtype), grad_B, grad_C, grad_D, grad_bias
