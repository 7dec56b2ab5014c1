"""What frame sizes a network takes, and the one place where frames are padded to them."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SizeRequirements", "pad_to", "size_requirements"]


@dataclass(frozen=True)
class SizeRequirements:
    """The frame sizes that a network accepts.

    Attributes:
        minimum: Smallest height and width in pixels.
        multiple_of: Height and width must be multiples of this many pixels.
    """

    minimum: int = 1
    multiple_of: int = 1

    def padded(self, side: int) -> int:
        """Smallest accepted side that holds ``side`` pixels."""
        side = max(side, self.minimum)
        return -(-side // self.multiple_of) * self.multiple_of


# SpyNet halves a frame five times and needs two pixels at the end; BasicVSR++ asserts as much itself.
_STOCK_NETWORKS = {
    "BasicVSR": SizeRequirements(minimum=64),
    "BasicVSRPlusPlus": SizeRequirements(minimum=64),
    "IconVSR": SizeRequirements(minimum=64, multiple_of=4),
}


def size_requirements(network: nn.Module) -> SizeRequirements:
    """What a network declares as ``size_requirements``, or what is known of it; any size otherwise."""
    declared = getattr(network, "size_requirements", None)
    return declared or _STOCK_NETWORKS.get(type(network).__name__, SizeRequirements())


def pad_to(frames: Tensor, requirements: SizeRequirements) -> Tensor:
    """Pads frames at the right and at the bottom to an accepted size by repeating the border.

    Args:
        frames: ``(..., C, H, W)``.
        requirements: What the network accepts.

    Returns:
        ``(..., C, H', W')`` with ``H' >= H`` and ``W' >= W``; the input itself where it already fits. Whoever calls
        crops the result back to ``H x W`` (times the scale).
    """
    height, width = frames.shape[-2:]
    bottom, right = requirements.padded(height) - height, requirements.padded(width) - width
    if not bottom and not right:
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:])
    flat = F.pad(flat, (0, right, 0, bottom), mode="replicate")
    return flat.reshape(*frames.shape[:-2], height + bottom, width + right)
