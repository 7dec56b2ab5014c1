"""A depthwise convolution as token mixer, which Mamba is compared with (Tab. 3, "3D DW-Conv")."""

import torch.nn.functional as F
from torch import Tensor, nn

from vsrm_arch.layers.projection import project
from vsrm_arch.ops.gated_linear import gated_linear

__all__ = ["DepthwiseMixer"]


class DepthwiseMixer(nn.Module):
    """The Mamba mixer with one 3x3x3 depthwise convolution in place of its causal convolutions and scans.

    ``x, z = W_1 X``, ``out = W_2 (SiLU(DWConv(x)) ⊙ SiLU(z))``. The paper does not describe its row, and the parameters
    that it gives for it (19.49 M) fit no depthwise convolution; so this changes nothing but the mixing.

    Args:
        dim: C, channels in and out.
        expand: E = expand · C, channels of the convolution.
    """

    def __init__(self, dim: int, expand: int = 2) -> None:
        super().__init__()
        inner_dim = expand * dim
        self.in_proj = nn.Linear(dim, 2 * inner_dim, bias=False)
        self.dwconv = nn.Conv3d(inner_dim, inner_dim, 3, padding=1, groups=inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim, bias=False)

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Mixes the tokens of a clip; with ``norm`` as a residual block does, ``x + Mixer(norm(x))``.

        Args:
            x: ``(B, T, H, W, C)``.
            norm: The block's LayerNorm over C.

        Returns:
            ``(B, T, H, W, C)``.
        """
        tokens, z = project(self.in_proj, x, norm).chunk(2, dim=-1)  # [B, T, H, W, E] each
        mixed = F.silu(self.dwconv(tokens.movedim(-1, 1)).movedim(1, -1))
        return gated_linear(mixed, self.out_proj.weight, None, None if norm is None else x, gate=z)
