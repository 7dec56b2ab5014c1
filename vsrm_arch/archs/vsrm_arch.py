"""VSRM: video super-resolution based on Mamba (Tran, Hung and Kim, ICCV 2025; Fig. 1)."""

from typing import Literal, get_args

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from vsrm_arch.alignments import DCA, GuidedDeformableAttention, ImplicitAlignment, NoAlignment
from vsrm_arch.archs.recurrent import RecurrentNetwork, check_even, check_sizes
from vsrm_arch.layers.blocks import Backbone, BlockDesign, FeedForward, Mixer, TemporalBlock
from vsrm_arch.layers.flow import build_spynet
from vsrm_arch.layers.upsampler import Upsampler
from vsrm_arch.propagation import BRANCHES

__all__ = ["VSRM"]

Alignment = Literal["dca", "fgda", "implicit", "none"]


@ARCH_REGISTRY.register()
class VSRM(RecurrentNetwork):
    """The VSRM network. The defaults are the full model: 17,076,281 parameters.

    Args:
        embed_dim: C, channels of the features; even.
        num_damb: DAMBs in each of the four branches.
        num_s2tmb: S2TMBs in each DAMB (N); one T2SMB follows them.
        expand: Expansion of the Mamba mixers and of the alignment, E = expand · C.
        d_state: States a channel of the scans.
        d_conv: Taps of the causal convolutions before the scans.
        mixer: What mixes tokens: "mamba", or in its place "attention" over all of them, "window_attention" over those
            of 8x8 pixels, or "dwconv", a 3-D depthwise convolution (Tab. 3).
        num_heads: Heads of the attention.
        t2smb: Whether the T2SMBs scan "forward" or in "both" directions, or "none" of them is there (Tab. 5).
        ffn: "tgfn", or in its place "tgfn_no_dwconv", "tgfn_no_split" or "ffn" (Tab. 6).
        alignment: "dca", or in its place "fgda", RVRT's guided deformable attention, "implicit", IART's implicit
            alignment with ``num_heads`` heads, or "none" (Tab. 4). Without one the flow network stays among the
            parameters, as in the paper's count, but does not run.
        upsampler_dim: Channels of the upsampler.
        scale: Enlargement; the paper's is 4.
        flow_network: "spynet", or "none" for a network without one, whose alignment starts from no motion at all.
        spynet_path: Pre-trained weights of the flow network, as BasicSR publishes them.
        checkpoint: Whether the backward pass recomputes activations to save memory: in all branches, in none, or in
            those listed out of "backward_1", "forward_1", "backward_2", "forward_2".
        cuda_graphs: Whether to launch the kernels of a propagation step as one CUDA graph: on a GPU, on small frames,
            without gradients or in checkpointed branches. The results are the same; second derivatives need it off.

    Raises:
        ValueError: If a size is below 1 or does not fit the others, or ``checkpoint`` names a branch that does not
            exist.
        UserError: If ``spynet_path`` cannot be read.
    """

    def __init__(
        self,
        embed_dim: int = 112,
        num_damb: int = 3,
        num_s2tmb: int = 6,
        expand: int = 2,
        d_state: int = 16,
        d_conv: int = 4,
        mixer: Mixer = "mamba",
        num_heads: int = 6,
        t2smb: TemporalBlock = "forward",
        ffn: FeedForward = "tgfn",
        alignment: Alignment = "dca",
        upsampler_dim: int = 64,
        scale: Literal[2, 4] = 4,
        flow_network: Literal["spynet", "none"] = "spynet",
        spynet_path: str | None = None,
        checkpoint: bool | list[str] = False,
        cuda_graphs: bool = True,
    ) -> None:
        sizes = {"embed_dim": embed_dim, "num_damb": num_damb, "num_s2tmb": num_s2tmb, "expand": expand}
        sizes |= {"d_state": d_state, "d_conv": d_conv, "num_heads": num_heads, "upsampler_dim": upsampler_dim}
        check_sizes(sizes)
        check_even(embed_dim)
        design = BlockDesign(embed_dim, expand, d_state, d_conv, mixer, num_heads, t2smb=t2smb, ffn=ffn)
        spynet = build_spynet(spynet_path) if flow_network == "spynet" else None
        super().__init__(embed_dim, spynet, checkpoint, cuda_graphs)
        self.scale = scale
        self.align = _build_alignment(alignment, embed_dim, expand, d_state, d_conv, num_heads)
        self.branches = nn.ModuleDict({name: Backbone(design, num_damb, num_s2tmb) for name in BRANCHES})
        self.upsampler = Upsampler(embed_dim, upsampler_dim, scale)

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarges a clip.

        Args:
            lq: ``(B, T, 3, H, W)``, RGB in [0, 1]; any T, H and W from 1.

        Returns:
            ``(B, T, 3, scale·H, scale·W)``.
        """
        return self.enlarge(lq, self.branches, self.align, self.upsampler)


def _build_alignment(
    alignment: Alignment, dim: int, expand: int, d_state: int, d_conv: int, num_heads: int
) -> nn.Module:
    """One alignment of Tab. 4."""
    match alignment:
        case "dca":
            return DCA(dim, expand, d_state, d_conv)
        case "fgda":
            return GuidedDeformableAttention(dim)
        case "implicit":
            return ImplicitAlignment(dim, num_heads)
        case "none":
            return NoAlignment()
        case _:
            raise ValueError(f"alignment is {alignment}; it must be one of {', '.join(get_args(Alignment))}")
