"""S2TMB and T2SMB, the dual aggregation block (DAMB) made of them, and the backbone of a propagation branch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from einops import rearrange
from torch import Tensor, nn

from vsrm_arch.layers.attention import FullAttention, WindowAttention
from vsrm_arch.layers.depthwise import DepthwiseMixer
from vsrm_arch.layers.ffn import FFN
from vsrm_arch.layers.mamba import S2TMamba, T2SMamba
from vsrm_arch.layers.tgfn import TGFN
from vsrm_arch.sizes import SizeRequirements, pad_to

__all__ = [
    "DAMB",
    "Backbone",
    "BlockDesign",
    "FeedForward",
    "MambaBlock",
    "Mixer",
    "TemporalBlock",
    "per_frame",
    "refine_centre",
]

Mixer = Literal["mamba", "attention", "window_attention", "dwconv"]
TemporalBlock = Literal["forward", "both", "none"]
FeedForward = Literal["tgfn", "tgfn_no_dwconv", "tgfn_no_split", "ffn"]


class MambaBlock(nn.Module):
    """``x + Mamba(LN(x))``, then ``x + TGFN(LN(x))``: an S2TMB or a T2SMB, according to its mixer (Fig. 1c, 1d).

    Args:
        dim: C, channels.
        mixer: S2TMamba or T2SMamba, or what takes their place; ``mixer(x, norm)`` is ``x + Mixer(norm(x))``.
        ffn: TGFN, likewise.
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


@dataclass(frozen=True)
class BlockDesign:
    """What S2TMBs and T2SMBs are made of; the defaults are the paper's, the rest its ablations.

    Attributes:
        dim: C, channels.
        expand: Expansion of the Mamba mixers, E = expand · C.
        d_state: States a channel of their scans.
        d_conv: Taps of their causal convolutions.
        mixer: What mixes tokens (Tab. 3).
        num_heads: Heads of the attention, if that does.
        window: Side of its windows in pixels, if it looks at windows; every second S2TMB shifts them by half of it.
        t2smb: In which directions T2SMBs scan, or that there are none (Tab. 5).
        ffn: What follows the mixer (Tab. 6).

    Raises:
        ValueError: If a choice is none of those there are, or both directions are asked of a mixer that has none.
    """

    dim: int
    expand: int = 2
    d_state: int = 16
    d_conv: int = 4
    mixer: Mixer = "mamba"
    num_heads: int = 6
    window: int = 8
    t2smb: TemporalBlock = "forward"
    ffn: FeedForward = "tgfn"

    def __post_init__(self) -> None:
        for name, choices in (("mixer", Mixer), ("t2smb", TemporalBlock), ("ffn", FeedForward)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise ValueError(f"{name} is {value}; it must be one of {', '.join(get_args(choices))}")
        if self.t2smb == "both" and self.mixer != "mamba":
            raise ValueError(f"t2smb is both: directions are those of a scan, and the mixer is {self.mixer}")

    @property
    def sizes(self) -> SizeRequirements:
        """What the blocks ask of a frame's sides."""
        return SizeRequirements(multiple_of=self.window if self.mixer == "window_attention" else 1)

    def build_s2tmb(self, index: int) -> MambaBlock:
        """A new S2TMB, number ``index`` of its DAMB."""
        shift = self.window // 2 * (index % 2)
        return MambaBlock(self.dim, self._build_mixer(S2TMamba, bidirectional=True, shift=shift), self._build_ffn())

    def build_t2smb(self) -> nn.Module:
        """A new T2SMB, or where there is none the identity."""
        if self.t2smb == "none":
            return nn.Identity()
        mixer = self._build_mixer(T2SMamba, bidirectional=self.t2smb == "both")
        return MambaBlock(self.dim, mixer, self._build_ffn())

    def _build_mixer(self, mamba: type[S2TMamba | T2SMamba], bidirectional: bool, shift: int = 0) -> nn.Module:
        """One mixer of Tab. 3; all but Mamba are the same in both blocks."""
        match self.mixer:
            case "mamba":
                return mamba(self.dim, self.expand, self.d_state, self.d_conv, bidirectional)
            case "attention":
                return FullAttention(self.dim, self.num_heads)
            case "window_attention":
                return WindowAttention(self.dim, self.num_heads, self.window, shift, relative_bias=False)
            case "dwconv":
                return DepthwiseMixer(self.dim, self.expand)

    def _build_ffn(self) -> nn.Module:
        """One feed-forward network of Tab. 6."""
        if self.ffn == "ffn":
            return FFN(self.dim)
        return TGFN(self.dim, dwconv=self.ffn != "tgfn_no_dwconv", split=self.ffn != "tgfn_no_split")


class DAMB(nn.Module):
    """Dual aggregation Mamba block: ``x + conv(T2SMB(conv(S2TMB^N(x))))``, the convolutions 3x3, a frame at a time.

    Args:
        design: Of the blocks.
        num_s2tmb: N, the number of S2TMBs.
    """

    def __init__(self, design: BlockDesign, num_s2tmb: int = 6) -> None:
        super().__init__()
        dim = design.dim
        self.s2tmb = nn.Sequential(*(design.build_s2tmb(i) for i in range(num_s2tmb)))
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.t2smb = design.build_t2smb()
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
        design: Of the blocks.
        num_damb: Number of DAMBs.
        num_s2tmb: S2TMBs in each.
    """

    def __init__(self, design: BlockDesign, num_damb: int = 3, num_s2tmb: int = 6) -> None:
        super().__init__()
        dim = design.dim
        self.sizes = design.sizes
        self.norm_in = nn.LayerNorm(dim)
        self.damb = nn.Sequential(*(DAMB(design, num_s2tmb) for _ in range(num_damb)))
        self.norm_out = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, T, C, H, W)``, the current frame in the centre → ``(B, C, H, W)``; any H and W."""
        return refine_centre(clip, self.norm_in, self.damb, self.norm_out, self.conv_after_body, self.sizes)


def refine_centre(
    clip: Tensor,
    norm_in: nn.Module,
    body: Callable[[Tensor], Tensor],
    norm_out: nn.Module,
    conv: nn.Module,
    sizes: SizeRequirements,
) -> Tensor:
    """What every backbone does about its body: the centre frame plus ``conv(norm_out(body(norm_in(clip))))`` there.

    Args:
        clip: ``(B, T, C, H, W)``, the current frame in the centre.
        norm_in: LayerNorm over C.
        body: ``(B, T, H, W, C)`` → ``(B, T, H, W, C)``.
        norm_out: LayerNorm over C.
        conv: ``(B, C, H, W)`` → ``(B, C, H, W)``.
        sizes: What the body asks of H and W; the frames are padded for it, and cropped.

    Returns:
        ``(B, C, H, W)``.
    """
    (H, W), centre = clip.shape[-2:], clip.shape[1] // 2
    x = body(pad_to(norm_in(clip.movedim(2, -1)).movedim(-1, 2), sizes).movedim(2, -1))
    x = norm_out(x[:, centre, :H, :W]).movedim(-1, 1)  # [B, C, H, W]
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
