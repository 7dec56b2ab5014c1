"""Temporal gated feed-forward network (eq. 6, Fig. 3)."""

from torch import Tensor, nn

from vsrm_arch.ops.gated_conv3d import gated_conv3d

__all__ = ["TGFN"]


class TGFN(nn.Module):
    """Gated feed-forward network whose two halves look at neighbouring pixels and frames.

    ``X̂ = W_p1 X``, ``[X̂1, X̂2] = X̂``, ``out = W_p2 (W_d1 LN(X̂1) ⊙ GELU(W_d2 LN(X̂2)))``, where W_d1 and W_d2 are
    3x3x3 depthwise convolutions over (T, H, W), zero padded.

    Args:
        dim: C, channels in and out.
        expand: The first projection has expand · C channels; each half has half of them.
    """

    def __init__(self, dim: int, expand: int = 2) -> None:
        super().__init__()
        half = expand * dim // 2
        self.proj_in = nn.Linear(dim, 2 * half)
        self.norm1 = nn.LayerNorm(half)
        self.norm2 = nn.LayerNorm(half)
        self.dwconv1 = nn.Conv3d(half, half, 3, padding=1, groups=half)
        self.dwconv2 = nn.Conv3d(half, half, 3, padding=1, groups=half)
        self.proj_out = nn.Linear(half, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the network.

        Args:
            x: ``(B, T, H, W, C)``.

        Returns:
            ``(B, T, H, W, C)``.
        """
        x1, x2 = self.proj_in(x).chunk(2, dim=-1)
        first, second = self.dwconv1, self.dwconv2
        assert first.bias is not None
        assert second.bias is not None
        gated = gated_conv3d(self.norm1(x1), self.norm2(x2), first.weight, first.bias, second.weight, second.bias)
        return self.proj_out(gated)
