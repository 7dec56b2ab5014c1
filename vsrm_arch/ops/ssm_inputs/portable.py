"""The definition: the causal convolution and two linear layers."""

import torch.nn.functional as F
from torch import Tensor

from vsrm_arch.ops.causal_conv1d import causal_conv1d
from vsrm_arch.ops.scan_order import ScanOrder

__all__ = ["ssm_inputs_portable"]


def ssm_inputs_portable(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_weight: Tensor,
    dt_weight: Tensor,
    reverse: bool,
    scan_order: ScanOrder,
    num_frames: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments and result as in :func:`vsrm_arch.ops.ssm_inputs.ssm_inputs`."""
    u = causal_conv1d(x, conv_weight, conv_bias, "silu", reverse, scan_order, num_frames)
    rank = dt_weight.shape[1]
    dt, rows = F.linear(u, x_weight).split([rank, len(x_weight) - rank], dim=-1)
    return u, F.linear(dt, dt_weight), rows
