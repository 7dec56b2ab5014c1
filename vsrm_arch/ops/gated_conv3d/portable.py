"""The gated convolution in plain PyTorch, which is also its definition."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vsrm_arch.ops.exporting import without_autocast

__all__ = ["gated_conv3d_portable"]


def gated_conv3d_portable(
    value: Tensor, gate: Tensor, value_weight: Tensor, value_bias: Tensor, gate_weight: Tensor, gate_bias: Tensor
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.gated_conv3d.gated_conv3d`."""
    return _convolve(value, value_weight, value_bias) * F.gelu(_convolve(gate, gate_weight, gate_bias))


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    # On a CPU, PyTorch 2.15 gets the gradient of a depthwise weight wrong in half precision where frames are small.
    dtype = torch.float32 if x.device.type == "cpu" and x.dtype.itemsize == 2 else x.dtype
    frames, weight, bias = rearrange(x, "b t h w c -> b c t h w").to(dtype), weight.to(dtype), bias.to(dtype)
    with without_autocast(x.device.type):
        y = F.conv3d(frames, weight, bias, padding=1, groups=len(weight))
    return rearrange(y, "b c t h w -> b t h w c").to(x.dtype)
