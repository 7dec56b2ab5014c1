"""The definition of the causal depthwise convolution: a weighted sum over the last K visits."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["causal_conv1d_naive"]


def causal_conv1d_naive(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    reverse: bool,
    scan_order: str,
    num_frames: int,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.causal_conv1d.causal_conv1d`."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    tokens, taps = x.to(dtype).unbind(1), weight.to(dtype).unbind(1)

    length = x.shape[1]
    size = length // num_frames
    order = [t * size + s for s in range(size) for t in range(num_frames)] if scan_order == "t2s" else range(length)
    order = list(reversed(order)) if reverse else list(order)

    outputs = [tokens[0]] * length
    for step, i in enumerate(order):
        # The last tap weighs the token itself, the one before it the token visited before.
        visits = zip(reversed(taps), reversed(order[: step + 1]), strict=False)
        outputs[i] = torch.stack([tap * tokens[j] for tap, j in visits]).sum(0)
    y = torch.stack(outputs, dim=1)
    y = y if bias is None else y + bias.to(dtype)
    return (F.silu(y) if activation == "silu" else y).to(x.dtype)
