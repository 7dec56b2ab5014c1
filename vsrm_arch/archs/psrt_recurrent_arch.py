"""PSRT-recurrent (Shi, Gu, Xie, Wang, Yang and Dong, NeurIPS 2022)."""

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from vsrm_arch.alignments.patch import PatchAlignment
from vsrm_arch.archs.recurrent_swin import RecurrentSwin

__all__ = ["BasicRecurrentSwin"]


@ARCH_REGISTRY.register()
class BasicRecurrentSwin(RecurrentSwin):
    """PSRT-recurrent under its published name. The defaults are the published model: 13,366,943 parameters.

    Published checkpoints load as they are. The flow network is not trained: patch alignment gives it no gradient.

    Args:
        embed_dim: C, channels of the features; a multiple of ``num_heads``.
        depths: Swin blocks in each group of a branch's backbone.
        num_heads: Heads of the window attention.
        window: Side of the windows of attention in pixels.
        upsampler_dim: Channels after the upsampler's first convolution; the later ones have 64.
        spynet_path: Pre-trained weights of the flow network, as BasicSR publishes them.
        checkpoint: Whether the backward pass recomputes activations to save memory: in all branches, in none, or in
            those listed out of "backward_1", "forward_1", "backward_2", "forward_2".
        cuda_graphs: Whether to launch the kernels of a propagation step as one CUDA graph, as :class:`VSRM` does.

    Raises:
        ValueError: If a size is below 1, ``num_heads`` does not divide ``embed_dim``, or ``checkpoint`` names a branch
            that does not exist.
        UserError: If ``spynet_path`` cannot be read.

    Source: "Rethinking Alignment in Video Super-Resolution Transformers".
    """

    def __init__(
        self,
        embed_dim: int = 120,
        depths: tuple[int, ...] = (6, 6, 6),
        num_heads: int = 6,
        window: int = 8,
        upsampler_dim: int = 64,
        spynet_path: str | None = None,
        checkpoint: bool | list[str] = False,
        cuda_graphs: bool = True,
    ) -> None:
        super().__init__(embed_dim, num_heads, upsampler_dim, spynet_path, checkpoint, cuda_graphs)
        self.patch_align = self.build_branches(embed_dim, depths, num_heads, window)
        self.align = PatchAlignment()
        # So that neither autograd nor distributed training waits for its gradient.
        assert self.spynet is not None
        self.spynet.requires_grad_(False)

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarges a clip.

        Args:
            lq: ``(B, T, 3, H, W)``, RGB in [0, 1]; any T, H and W from 1.

        Returns:
            ``(B, T, 3, 4·H, 4·W)``.
        """
        return self.enlarge(lq, self.patch_align, self.align, self.reconstruct)
