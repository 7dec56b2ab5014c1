"""Sampling and encoding by PyTorch's grid_sample."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrm_arch.ops.backends import unordered_sums
from vsrm_arch.ops.positional_encoding import sinusoidal_encoding

__all__ = ["encoded_sample_portable", "limit"]


def limit(feature: Tensor) -> str | None:
    """Why grid_sample cannot take a feature (B, H, W, C), or None if it can."""
    return None if feature.device.type == "cpu" else unordered_sums()


def encoded_sample_portable(feature: Tensor, position: Tensor, local: Tensor, extent: float) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.encoded_sample.encoded_sample`."""
    _, height, width, channels = feature.shape
    dtype = torch.float64 if feature.dtype == torch.float64 else torch.float32
    # From pixels to -1 ... 1, as (x, y).
    y, x = (2 * position[..., i] / max(side - 1, 1) - 1 for i, side in enumerate((height, width)))
    grid = torch.stack([x, y], dim=-1).unsqueeze(1).to(dtype)  # [B, 1, P, 2]
    sampled = F.grid_sample(feature.movedim(-1, 1).to(dtype), grid, padding_mode="border", align_corners=True)
    points = sampled.squeeze(2).movedim(1, -1).to(feature.dtype)
    return points + sinusoidal_encoding(local, channels, extent).to(feature.dtype)
