"""Temporal gated feed-forward network (eq. 6, Fig. 3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrm_arch.layers.projection import project
from vsrm_arch.ops.gated_conv3d import gated_conv3d
from vsrm_arch.ops.gated_linear import gated_linear
from vsrm_arch.ops.norm_linear import norm_linear

__all__ = ["TGFN"]


class TGFN(nn.Module):
    """Gated feed-forward network whose two halves look at neighbouring pixels and frames.

    ``X̂ = W_p1 X``, ``[X̂1, X̂2] = X̂``, ``out = W_p2 (W_d1 LN(X̂1) ⊙ GELU(W_d2 LN(X̂2)))``, where W_d1 and W_d2 are
    3x3x3 depthwise convolutions over (T, H, W), zero padded.

    Args:
        dim: C, channels in and out.
        expand: The first projection has expand · C channels; each half has half of them.
        dwconv: Whether there are the depthwise convolutions (Tab. 6, "TGFN w/o DWConv").
        split: Whether each branch takes one half; without, both take all (Tab. 6, "TGFN w/o Split").
    """

    def __init__(self, dim: int, expand: int = 2, dwconv: bool = True, split: bool = True) -> None:
        super().__init__()
        half = expand * dim // 2
        width = half if split else 2 * half
        self.split = split
        self.proj_in = nn.Linear(dim, 2 * half)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dwconv1 = nn.Conv3d(width, width, 3, padding=1, groups=width) if dwconv else None
        self.dwconv2 = nn.Conv3d(width, width, 3, padding=1, groups=width) if dwconv else None
        self.proj_out = nn.Linear(width, dim)

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Applies the network; with ``norm`` as a residual block does, ``x + TGFN(norm(x))``.

        Args:
            x: ``(B, T, H, W, C)``.
            norm: The block's LayerNorm over C.

        Returns:
            ``(B, T, H, W, C)``.
        """
        if self.split:
            x1, x2 = self._normed_halves(x, norm).chunk(2, dim=-1)
        else:
            whole = project(self.proj_in, x, norm)
            x1, x2 = self.norm1(whole), self.norm2(whole)
        first, second = self.dwconv1, self.dwconv2
        if first is None or second is None:
            gated = x1 * F.gelu(x2)
        else:
            assert first.bias is not None
            assert second.bias is not None
            gated = gated_conv3d(x1, x2, first.weight, first.bias, second.weight, second.bias)
        return gated_linear(gated, self.proj_out.weight, self.proj_out.bias, None if norm is None else x)

    def _normed_halves(self, x: Tensor, norm: nn.LayerNorm | None) -> Tensor:
        norms = (self.norm1, self.norm2)
        return norm_linear(
            x,
            None if norm is None else norm.weight,
            None if norm is None else norm.bias,
            self.proj_in.weight,
            self.proj_in.bias,
            part_weight=torch.stack([n.weight for n in norms]),
            part_bias=torch.stack([n.bias for n in norms]),
            eps=self.norm1.eps,
        )
