"""What PSRT-recurrent and IART share: everything but the alignment."""

import torch.nn.functional as F
from torch import Tensor, nn

from vsrm_arch.archs.recurrent import RecurrentNetwork, check_sizes
from vsrm_arch.layers.flow import build_spynet
from vsrm_arch.layers.swin import SwinBackbone
from vsrm_arch.layers.upsampler import reconstruct
from vsrm_arch.propagation import BRANCHES

__all__ = ["RecurrentSwin"]


class RecurrentSwin(RecurrentNetwork):
    """The base of recurrent networks with Swin backbones. Modules bear the names of the published checkpoints.

    Args:
        embed_dim: C, channels of the features; a multiple of ``num_heads``.
        num_heads: Heads of the window attention.
        upsampler_dim: Channels after the upsampler's first convolution.
        spynet_path: Pre-trained weights of the flow network, as BasicSR publishes them.
        checkpoint: As in :class:`vsrm_arch.archs.recurrent.RecurrentNetwork`.
        cuda_graphs: Likewise.

    Raises:
        ValueError: If a size is below 1, ``num_heads`` does not divide ``embed_dim``, or ``checkpoint`` names a branch
            that does not exist.
        UserError: If ``spynet_path`` cannot be read.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        upsampler_dim: int,
        spynet_path: str | None,
        checkpoint: bool | list[str],
        cuda_graphs: bool,
    ) -> None:
        check_sizes({"embed_dim": embed_dim, "num_heads": num_heads, "upsampler_dim": upsampler_dim})
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim is {embed_dim}; it must be a multiple of num_heads, {num_heads}")
        super().__init__(embed_dim, build_spynet(spynet_path), checkpoint, cuda_graphs)
        self.conv_before_upsample = nn.Conv2d(embed_dim, upsampler_dim, 3, padding=1)
        self.upconv1 = nn.Conv2d(upsampler_dim, 4 * upsampler_dim, 3, padding=1)
        # From here on the published networks have 64 channels whatever they have before.
        self.upconv2 = nn.Conv2d(upsampler_dim, 4 * 64, 3, padding=1)
        self.conv_hr = nn.Conv2d(64, 64, 3, padding=1)
        self.conv_last = nn.Conv2d(64, 3, 3, padding=1)

    @staticmethod
    def build_branches(embed_dim: int, depths: tuple[int, ...], num_heads: int, window: int) -> nn.ModuleDict:
        """The backbones of the four branches by name; the arguments are those of ``SwinBackbone``."""
        check_sizes({**{f"depths[{i}]": depth for i, depth in enumerate(depths)}, "window": window})
        return nn.ModuleDict({name: SwinBackbone(embed_dim, depths, num_heads, window) for name in BRANCHES})

    def reconstruct(self, feature: Tensor, frame: Tensor) -> Tensor:
        """A feature ``(B, C, H, W)`` and its input frame ``(B, 3, H, W)`` → ``(B, 3, 4·H, 4·W)``."""
        return reconstruct(self.conv_before_upsample, self._enlarge, self.conv_hr, self.conv_last, feature, frame)

    def _enlarge(self, x: Tensor) -> Tensor:
        for conv in (self.upconv1, self.upconv2):
            x = F.leaky_relu_(F.pixel_shuffle(conv(x), 2), 0.1)
        return x
