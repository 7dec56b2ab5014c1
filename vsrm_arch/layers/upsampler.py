"""The reconstruction: features to a frame of the higher resolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Upsampler"]


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
        self.scale = scale
        self.conv_before_upsample = nn.Conv2d(dim, mid_dim, 3, padding=1)
        self.upsample = nn.Sequential()
        for _ in range(scale // 2):
            self.upsample.append(nn.Conv2d(mid_dim, 4 * mid_dim, 3, padding=1))
            self.upsample.append(nn.PixelShuffle(2))
            self.upsample.append(nn.LeakyReLU(0.1, inplace=True))
        self.conv_hr = nn.Conv2d(mid_dim, mid_dim, 3, padding=1)
        self.act = nn.LeakyReLU(0.1, inplace=True)
        self.conv_last = nn.Conv2d(mid_dim, 3, 3, padding=1)

    def forward(self, feature: Tensor, frame: Tensor) -> Tensor:
        """Reconstructs one frame.

        Args:
            feature: ``(B, C, H, W)``.
            frame: The input frame, ``(B, 3, H, W)``, RGB in [0, 1].

        Returns:
            ``(B, 3, scale·H, scale·W)``.
        """
        if feature.device.type == "cpu":
            # oneDNN's convolutions and the pixel shuffle are faster on it.
            feature = feature.contiguous(memory_format=torch.channels_last)
        x = self.upsample(self.conv_before_upsample(feature))
        x = self.conv_last(self.act(self.conv_hr(x)))
        return x + F.interpolate(frame, scale_factor=self.scale, mode="bilinear", align_corners=False)
