"""Shifted-window transformer over a few frames: the backbone of PSRT-recurrent and IART."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vsrm_arch.layers.attention import WindowAttention
from vsrm_arch.layers.blocks import per_frame, refine_centre
from vsrm_arch.layers.projection import project
from vsrm_arch.ops.gated_linear import gated_linear
from vsrm_arch.sizes import SizeRequirements

__all__ = ["SwinBackbone", "SwinBlock", "SwinGroup"]


class _MLP(nn.Module):
    """``Linear(GELU(Linear(x)))``."""

    def __init__(self, dim: int, expand: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, expand * dim)
        self.fc2 = nn.Linear(expand * dim, dim)

    def forward(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """A residual block's second half, ``x + MLP(norm(x))``; ``(..., C)`` → ``(..., C)``."""
        hidden = project(self.fc1, x, norm)
        return gated_linear(F.gelu(hidden), self.fc2.weight, self.fc2.bias, x)


class SwinBlock(nn.Module):
    """``x + Attention(LN(x))``, then ``x + MLP(LN(x))``.

    Args:
        dim: C, channels.
        num_heads: Heads of the attention.
        window: Side of its windows in pixels.
        shift: Their shift in pixels.
        expand: Expansion of the MLP.
    """

    def __init__(self, dim: int, num_heads: int = 6, window: int = 8, shift: int = 0, expand: int = 2) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window, shift)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = _MLP(dim, expand)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W, C)`` → ``(B, 3, H, W, C)``."""
        x = self.attn(x, self.norm1)
        return self.mlp(x, self.norm2)


class SwinGroup(nn.Module):
    """``x + conv(SwinBlock^depth(x))``, every second block with shifted windows; the convolution 3x3, per frame.

    Args:
        dim: C, channels.
        depth: Number of blocks.
        num_heads: Heads of the attention.
        window: Side of its windows in pixels.
    """

    def __init__(self, dim: int, depth: int = 6, num_heads: int = 6, window: int = 8) -> None:
        super().__init__()
        blocks = (SwinBlock(dim, num_heads, window, window // 2 * (i % 2)) for i in range(depth))
        self.residual_group = nn.ModuleDict({"blocks": nn.Sequential(*blocks)})
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W, C)`` → ``(B, 3, H, W, C)``."""
        return x + per_frame(self.conv, self.residual_group["blocks"](x))


class SwinBackbone(nn.Module):
    """The backbone of a propagation branch in PSRT-recurrent and IART.

    LayerNorm → groups of Swin blocks → LayerNorm → the centre (current) frame → 3x3 convolution → plus the current
    frame's input feature.

    Modules bear their published names. Three of them do nothing: published checkpoints hold them, and they count among
    the published parameters.

    Args:
        dim: C, channels.
        depths: Blocks of each group.
        num_heads: Heads of the attention.
        window: Side of its windows in pixels.

    Source: Shi et al., "Rethinking Alignment in Video Super-Resolution Transformers", NeurIPS 2022, and their code.
    """

    def __init__(self, dim: int, depths: Sequence[int] = (6, 6, 6), num_heads: int = 6, window: int = 8) -> None:
        super().__init__()
        self.sizes = SizeRequirements(multiple_of=window)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(dim)})
        self.layers = nn.Sequential(*(SwinGroup(dim, depth, num_heads, window) for depth in depths))
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.conv_first_feat = nn.Conv2d(64, dim, 3, padding=1)
        self.conv_before_upsample = nn.Conv2d(dim, 64, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        # They never get a gradient, and distributed training would wait for one.
        for unused in (self.conv_first, self.conv_first_feat, self.conv_before_upsample):
            unused.requires_grad_(False)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, 3, C, H, W)``, the current frame in the centre → ``(B, C, H, W)``; any H and W."""
        norms = self.patch_embed["norm"], self.norm
        return refine_centre(clip, norms[0], self.layers, norms[1], self.conv_after_body, self.sizes)
