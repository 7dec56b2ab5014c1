"""The reconstruction: features to a frame of the higher resolution."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Upsampler", "reconstruct"]


class Upsampler(nn.Module):
    """Pixel-shuffle upsampler plus the bilinearly enlarged input frame.

    3x3 ``dim`` → ``mid_dim``; for each doubling 3x3 ``mid_dim`` → 4 ``mid_dim``, PixelShuffle 2, LeakyReLU 0.1; 3x3,
    LeakyReLU 0.1, 3x3 → RGB. The first convolution has no activation, as in PSRT and IART.

    Args:
        dim: Channels of the features.
        mid_dim: Channels in between.
        scale: Enlargement; 2 or 4.
    """

    def __init__(self, dim: int, mid_dim: int = 64, scale: int = 4) -> None:
        super().__init__()
        if scale not in (2, 4):
            raise ValueError(f"scale must be 2 or 4, not {scale}")
        self.conv_before_upsample = nn.Conv2d(dim, mid_dim, 3, padding=1)
        self.upsample = nn.Sequential()
        for _ in range(scale // 2):
            self.upsample.append(nn.Conv2d(mid_dim, 4 * mid_dim, 3, padding=1))
            self.upsample.append(nn.PixelShuffle(2))
            self.upsample.append(nn.LeakyReLU(0.1, inplace=True))
        self.conv_hr = nn.Conv2d(mid_dim, mid_dim, 3, padding=1)
        self.conv_last = nn.Conv2d(mid_dim, 3, 3, padding=1)

    def forward(self, feature: Tensor, frame: Tensor) -> Tensor:
        """Reconstructs one frame.

        Args:
            feature: ``(B, C, H, W)``.
            frame: The input frame, ``(B, 3, H, W)``, RGB in [0, 1].

        Returns:
            ``(B, 3, scale·H, scale·W)``.
        """
        return reconstruct(self.conv_before_upsample, self.upsample, self.conv_hr, self.conv_last, feature, frame)


def reconstruct(
    first: nn.Module,
    enlarge: Callable[[Tensor], Tensor],
    hr: nn.Module,
    last: nn.Module,
    feature: Tensor,
    frame: Tensor,
) -> Tensor:
    """``last(LeakyReLU(hr(enlarge(first(feature)))))`` plus the bilinearly enlarged input frame.

    Args:
        first: Convolution of the feature.
        enlarge: ``(B, C, H, W)`` → ``(B, C', scale·H, scale·W)``.
        hr: Convolution at the higher resolution.
        last: Convolution to RGB.
        feature: ``(B, C, H, W)``.
        frame: The input frame, ``(B, 3, H, W)``, RGB in [0, 1].

    Returns:
        ``(B, 3, scale·H, scale·W)``.
    """
    if feature.device.type == "cpu":
        # oneDNN's convolutions and the pixel shuffle are faster on it.
        feature = feature.contiguous(memory_format=torch.channels_last)
    x = last(F.leaky_relu_(hr(enlarge(first(feature))), 0.1))
    return x + F.interpolate(frame, size=x.shape[-2:], mode="bilinear", align_corners=False)
