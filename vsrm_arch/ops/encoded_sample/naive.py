"""The definition of sampling and encoding: four pixels about each point, weighed by its distances from them.

PyTorch takes the sums of its gradients in one order, on a GPU as well, where it is asked for deterministic algorithms.
"""

import torch
from torch import Tensor

from vsrm_arch.ops.positional_encoding import sinusoidal_encoding

__all__ = ["encoded_sample_naive"]


def encoded_sample_naive(feature: Tensor, position: Tensor, local: Tensor, extent: float) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.encoded_sample.encoded_sample`."""
    batch, height, width, channels = feature.shape
    dtype = torch.float64 if feature.dtype == torch.float64 else torch.float32
    last = torch.cat([position.new_full((1,), side - 1, dtype=dtype) for side in (height, width)])
    position = torch.minimum(position.to(dtype).clamp(min=0), last)
    corner = position.detach().floor()
    dy, dx = (position - corner).split(1, dim=-1)  # [B, P, 1]
    # Clamped as integers: a position that is not a number must not lead out of memory.
    top, left = (i.clamp(0, side - 1) for i, side in zip(corner.long().unbind(-1), (height, width), strict=True))
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    sample = torch.arange(batch, device=feature.device).unsqueeze(-1)

    def row(y: Tensor) -> Tensor:
        return torch.lerp(feature[sample, y, left].to(dtype), feature[sample, y, right].to(dtype), dx)

    points = torch.lerp(row(top), row(bottom), dy).to(feature.dtype)
    return points + sinusoidal_encoding(local, channels, extent).to(feature.dtype)
