"""The definition, in plain PyTorch."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["gated_linear_portable"]


def gated_linear_portable(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, other: Tensor | None, gate: Tensor | None
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.gated_linear.gated_linear`."""
    if other is not None:
        x = x + other
    if gate is not None:
        x = x * F.silu(gate)
    y = F.linear(x, weight, bias)
    return y if residual is None else residual + y
