"""Patch alignment, as in PSRT."""

import torch
import torch.nn.functional as F
from basicsr.archs.arch_util import flow_warp
from torch import Tensor, nn

__all__ = ["PatchAlignment"]


class PatchAlignment(nn.Module):
    """Moves whole patches of the reference, each by the mean flow of its pixels and to the nearest pixel.

    What leads out of the frame is zero. The flow gets no gradient.

    Args:
        patch: Side of a patch in pixels. Patches begin in the upper left corner; of those that reach beyond the frame,
            the flow there is its mirror image.

    Source: Shi et al., "Rethinking Alignment in Video Super-Resolution Transformers", NeurIPS 2022, section 4.3.
    """

    def __init__(self, patch: int = 8) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, reference: Tensor, target: Tensor, flow: Tensor) -> Tensor:
        """Aligns ``reference`` to ``target``.

        Args:
            reference: ``(B, C, H, W)``.
            target: ``(B, C, H, W)``; it is not looked at.
            flow: ``(B, 2, H, W)``, in pixels (x, y), target → reference.

        Returns:
            ``(B, C, H, W)``.
        """
        H, W = flow.shape[-2:]
        for dim in (-2, -1):
            flow = flow.index_select(dim, _mirrored(flow.shape[dim], self.patch, flow.device))
        mean = F.avg_pool2d(flow, self.patch)
        flow = mean.repeat_interleave(self.patch, -2).repeat_interleave(self.patch, -1)[..., :H, :W]
        # In the flow's precision: the grid of pixels has the feature's, and bfloat16 does not count beyond 256.
        return flow_warp(reference.to(flow.dtype), flow.movedim(1, -1), "nearest").to(reference.dtype)


def _mirrored(side: int, multiple: int, device: torch.device) -> Tensor:
    """Indices that extend ``side`` pixels to a multiple by mirroring them about the last one, as often as it takes."""
    turn = max(1, 2 * (side - 1))
    index = torch.arange(-(-side // multiple) * multiple, device=device) % turn
    return torch.minimum(index, turn - index) if side > 1 else index
