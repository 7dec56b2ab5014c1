"""The definition, in plain PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["norm_linear_portable"]


def norm_linear_portable(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    part_weight: Tensor | None,
    part_bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.norm_linear.norm_linear`."""
    if norm_weight is not None:
        x = F.layer_norm(x, norm_weight.shape, norm_weight, norm_bias, eps)
    y = F.linear(x, weight, bias)
    if part_weight is None or part_bias is None:
        return y
    parts = zip(y.unflatten(-1, part_weight.shape).unbind(-2), part_weight, part_bias, strict=True)
    return torch.cat([F.layer_norm(part, w.shape, w, b, eps).to(y.dtype) for part, w, b in parts], dim=-1)
