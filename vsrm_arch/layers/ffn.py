"""The ordinary feed-forward network, which TGFN is compared with (Tab. 6)."""

import torch.nn.functional as F
from torch import Tensor, nn

from vsrm_arch.layers.projection import project
from vsrm_arch.ops.gated_linear import gated_linear

__all__ = ["FFN"]


class FFN(nn.Module):
    """``W_2 GELU(W_1 X)``: a token at a time (Vaswani et al., NIPS 2017; GELU as in TGFN).

    Args:
        dim: C, channels in and out.
        expand: Between the projections there are expand · C.
    """

    def __init__(self, dim: int, expand: int = 2) -> None:
        super().__init__()
        self.proj_in = nn.Linear(dim, expand * dim)
        self.proj_out = nn.Linear(expand * dim, dim)

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Applies the network; with ``norm`` as a residual block does, ``x + FFN(norm(x))``.

        Args:
            x: ``(..., C)``.
            norm: The block's LayerNorm over C.

        Returns:
            ``(..., C)``.
        """
        hidden = F.gelu(project(self.proj_in, x, norm))
        return gated_linear(hidden, self.proj_out.weight, self.proj_out.bias, None if norm is None else x)
