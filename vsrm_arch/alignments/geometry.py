"""Where a flow leads."""

import torch
from torch import Tensor

__all__ = ["locate"]


def locate(flow: Tensor) -> tuple[Tensor, Tensor]:
    """The positions that a flow leads to: ``(x', y') = (x + Δx, y + Δy)`` (VSRM, eq. 7).

    Args:
        flow: ``(B, 2, H, W)``, in pixels (x, y).

    Returns:
        The floor of (y', x') and the sub-pixel remainder, each ``(B, H, W, 2)``, in float32.
    """
    H, W = flow.shape[-2:]
    y = torch.arange(H, device=flow.device, dtype=torch.float32).view(H, 1).expand(H, W)
    x = torch.arange(W, device=flow.device, dtype=torch.float32).view(1, W).expand(H, W)
    position = torch.stack([y, x], dim=-1) + flow.float().movedim(1, -1).flip(-1)
    corner = position.detach().floor()
    return corner, position - corner
