"""S2TMB and T2SMB, the dual aggregation block (DAMB) made of them, and the backbone of a propagation branch."""

from collections.abc import Callable

from einops import rearrange
from torch import Tensor, nn

from vsrm_arch.layers.mamba import S2TMamba, T2SMamba
from vsrm_arch.layers.tgfn import TGFN

__all__ = ["DAMB", "Backbone", "MambaBlock", "per_frame", "refine_centre"]


class MambaBlock(nn.Module):
    """``x + Mamba(LN(x))``, then ``x + TGFN(LN(x))``: an S2TMB or a T2SMB, according to its mixer (Fig. 1c, 1d).

    Args:
        dim: C, channels.
        mixer: S2TMamba or T2SMamba.
        ffn: TGFN.
    """

    def __init__(self, dim: int, mixer: nn.Module, ffn: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = ffn

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, H, W, C)`` → ``(B, T, H, W, C)``."""
        x = self.mixer(x, self.norm1)
        return self.ffn(x, self.norm2)


class DAMB(nn.Module):
    """Dual aggregation Mamba block: ``x + conv(T2SMB(conv(S2TMB^N(x))))``, the convolutions 3x3, a frame at a time.

    Args:
        dim: C, channels.
        num_s2tmb: N, the number of S2TMBs.
        expand: Expansion of the Mamba mixers.
        d_state: States a channel of the mixers.
        d_conv: Taps of the mixers' causal convolution.
    """

    def __init__(self, dim: int, num_s2tmb: int = 6, expand: int = 2, d_state: int = 16, d_conv: int = 4) -> None:
        super().__init__()
        self.s2tmb = nn.Sequential(
            *(MambaBlock(dim, S2TMamba(dim, expand, d_state, d_conv), TGFN(dim)) for _ in range(num_s2tmb))
        )
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.t2smb = MambaBlock(dim, T2SMamba(dim, expand, d_state, d_conv), TGFN(dim))
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, H, W, C)`` → ``(B, T, H, W, C)``."""
        y = per_frame(self.conv1, self.s2tmb(x))
        return x + per_frame(self.conv2, self.t2smb(y))


class Backbone(nn.Module):
    """What a propagation branch runs on the aligned frames and the current one.

    LayerNorm → DAMBs → LayerNorm → the centre (current) frame → 3x3 convolution → plus the current frame's input
    feature.

    Args:
        dim: C, channels.
        num_damb: Number of DAMBs.
        num_s2tmb: S2TMBs in each.
        expand: Expansion of the Mamba mixers.
        d_state: States a channel of the mixers.
        d_conv: Taps of the mixers' causal convolution.
    """

    def __init__(
        self, dim: int, num_damb: int = 3, num_s2tmb: int = 6, expand: int = 2, d_state: int = 16, d_conv: int = 4
    ) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(dim)
        self.damb = nn.Sequential(*(DAMB(dim, num_s2tmb, expand, d_state, d_conv) for _ in range(num_damb)))
        self.norm_out = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, C, H, W)``, the current frame in the centre → ``(B, C, H, W)``."""
        return refine_centre(clip, self.norm_in, self.damb, self.norm_out, self.conv_after_body)


def refine_centre(
    clip: Tensor, norm_in: nn.Module, body: Callable[[Tensor], Tensor], norm_out: nn.Module, conv: nn.Module
) -> Tensor:
    """What every backbone does about its body: the centre frame plus ``conv(norm_out(body(norm_in(clip))))`` there.

    Args:
        clip: ``(B, T, C, H, W)``, the current frame in the centre.
        norm_in: LayerNorm over C.
        body: ``(B, T, H, W, C)`` → ``(B, T, H, W, C)``.
        norm_out: LayerNorm over C.
        conv: ``(B, C, H, W)`` → ``(B, C, H, W)``.

    Returns:
        ``(B, C, H, W)``.
    """
    centre = clip.shape[1] // 2
    x = body(norm_in(clip.movedim(2, -1)))
    x = norm_out(x[:, centre]).movedim(-1, 1)  # [B, C, H, W]
    return conv(x) + clip[:, centre]


def per_frame(conv: nn.Module, x: Tensor) -> Tensor:
    """Applies a convolution ``(N, C, H, W)`` → ``(N, C', H, W)`` to each frame of a token grid.

    Args:
        conv: The convolution.
        x: ``(B, T, H, W, C)``.

    Returns:
        ``(B, T, H, W, C')``.
    """
    # A channel-last token grid is a channels_last image to the convolution: no data moves.
    frames = rearrange(x, "b t h w c -> (b t) c h w")
    return rearrange(conv(frames), "(b t) c h w -> b t h w c", b=len(x))
