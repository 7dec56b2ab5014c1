"""The gradients of weights that captured steps share: summed where the graphs are, handed out once a backward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["Gate", "GradientSums", "PassToken"]


class PassToken:
    """Names one pass of a branch over a clip.

    Attributes:
        task: The last backward pass that has come to it.
        lost: The last backward pass in which another pass over a clip has taken its sums.
    """

    task = -1
    lost = -1


class GradientSums:
    """Where the steps of a branch add up the gradients of its weights, until a backward pass hands them out.

    The sums belong to one backward pass of one pass over a clip; another finds them as zeros, whatever became of the
    one before.

    Args:
        parameters: The trained ones.

    Attributes:
        sums: A tensor for each, in float32 at least.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.sums = [
            torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32), requires_grad=False)
            for p in parameters
        ]
        self._dtypes = [p.dtype for p in parameters]
        self._owner: tuple[PassToken, int] | None = None
        self._touched: set[int] = set()

    def add(self, grads: Sequence[Tensor | None]) -> frozenset[int]:
        """Adds a gradient to each sum, or nothing where it is None; returns the places of the others."""
        pairs = [(total, grad) for total, grad in zip(self.sums, grads, strict=True) if grad is not None]
        # Few kernels for many tensors, but only if all of them lie in memory as their sums do.
        alike = [(t, g) for t, g in pairs if g.dtype == t.dtype and g.stride() == t.stride()]
        if alike:
            torch._foreach_add_([total for total, _ in alike], [grad for _, grad in alike])
        for total, grad in pairs:
            if grad.dtype != total.dtype or grad.stride() != total.stride():
                total.add_(grad)
        return frozenset(i for i, grad in enumerate(grads) if grad is not None)

    def open(self, token: PassToken, touched: frozenset[int]) -> None:
        """Makes ready for a step of the pass ``token`` whose backward pass adds to the sums ``touched``."""
        token.task = torch._C._current_graph_task_id()
        if self._owner != (token, token.task):
            if self._owner is not None and self._owner[1] == token.task:
                self._owner[0].lost = token.task
            self.forget()
            if self.sums:
                torch._foreach_zero_(self.sums)
            self._owner = token, token.task
        self._touched |= touched

    def forget(self) -> None:
        """Declares what the sums hold to be of no pass."""
        self._owner, self._touched = None, set()

    def hand_out(self, token: PassToken) -> list[Tensor | None]:
        """The gradients of the pass ``token``, None for weights that no step has used.

        Raises:
            RuntimeError: If another pass has taken the sums in between. Autograd runs the latest operations first, so
                this happens to passes of several threads only.
        """
        task = torch._C._current_graph_task_id()
        if token.lost == task:
            raise RuntimeError("two backward passes through the CUDA graphs of one network at once")
        if self._owner != (token, task):
            return [None] * len(self.sums)
        grads = [
            total.to(dtype, copy=True) if i in self._touched else None
            for i, (total, dtype) in enumerate(zip(self.sums, self._dtypes, strict=True))
        ]
        self.forget()
        return grads


class Gate(torch.autograd.Function):
    """Hands a pass's gradients to the weights, once, when the backward pass has come through all of its steps.

    They all take the gate's output, the anchor, so autograd runs the gate after them.
    """

    @staticmethod
    def forward(ctx: Any, sums: GradientSums, token: PassToken, *parameters: Tensor) -> Tensor:
        """The anchor, a scalar, from the weights whose gradients ``sums`` takes."""
        ctx.sums, ctx.token = sums, token
        ctx.set_materialize_grads(False)
        return parameters[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of the weights."""
        return None, None, *ctx.sums.hand_out(ctx.token)
