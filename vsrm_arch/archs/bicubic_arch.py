"""Bicubic enlargement as a network, so that a test protocol can be checked from end to end."""

import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

__all__ = ["Bicubic"]

# The cubic kernel reaches two pixels; two more keep the crop whole.
_BORDER = 4


@ARCH_REGISTRY.register()
class Bicubic(nn.Module):
    """Enlarges each frame as MATLAB's ``imresize`` does: cubic kernel with a = -0.5, border mirrored.

    It has no parameters.

    Args:
        scale: Enlargement.

    Raises:
        ValueError: If ``scale`` is below 1.
    """

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        if scale < 1:
            raise ValueError(f"scale is {scale}; it must be at least 1")
        self.scale = scale

    def forward(self, lq: Tensor) -> Tensor:
        """``(B, T, 3, H, W)`` → ``(B, T, 3, scale·H, scale·W)``, RGB in [0, 1], not clipped."""
        B, T, _, H, W = lq.shape
        frames = _mirror(_mirror(lq.flatten(0, 1), dim=-1), dim=-2)
        # PyTorch's kernel has a = -0.75 unless antialias is set; for an enlargement that changes the kernel alone.
        frames = F.interpolate(frames.float(), scale_factor=self.scale, mode="bicubic", antialias=True)
        edge = _BORDER * self.scale
        frames = frames[..., edge : edge + H * self.scale, edge : edge + W * self.scale]
        return frames.reshape(B, T, 3, H * self.scale, W * self.scale).to(lq.dtype)


def _mirror(x: Tensor, dim: int) -> Tensor:
    """Adds a border in which the frame is mirrored with its edge pixel repeated, as often as a small frame needs."""
    side = x.shape[dim]
    index = [i % (2 * side) for i in range(-_BORDER, side + _BORDER)]
    index = [i if i < side else 2 * side - 1 - i for i in index]
    return x.index_select(dim, x.new_tensor(index).long())
