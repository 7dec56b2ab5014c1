"""The gated convolution in plain PyTorch, which is also its definition."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

__all__ = ["gated_conv3d_portable"]


def gated_conv3d_portable(
    value: Tensor, gate: Tensor, value_weight: Tensor, value_bias: Tensor, gate_weight: Tensor, gate_bias: Tensor
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.gated_conv3d.gated_conv3d`."""
    return _convolve(value, value_weight, value_bias) * F.gelu(_convolve(gate, gate_weight, gate_bias))


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    y = F.conv3d(rearrange(x, "b t h w c -> b c t h w"), weight, bias, padding=1, groups=len(weight))
    return rearrange(y, "b c t h w -> b t h w c")
