"""Implicit alignment, as in IART."""

import torch
from torch import Tensor, nn

from vsrm_arch.alignments.geometry import locate
from vsrm_arch.ops.encoded_sample import encoded_sample
from vsrm_arch.ops.positional_encoding import sinusoidal_encoding

__all__ = ["ImplicitAlignment"]

_WINDOW = 2  # side of the window of reference pixels
_LAST = _WINDOW - 1.0


class ImplicitAlignment(nn.Module):
    """Resamples the reference by attention to the four pixels around where the flow leads.

    Each pixel of the reference's 2x2 window, which begins at the floored position, gives with the encoding of its
    place in the window a key and a value; the target pixel gives with the encoding of the sub-pixel remainder the
    query. Pixels beyond the border are its replicas.

    Args:
        dim: C, channels in and out; a multiple of ``num_heads``, and even.
        num_heads: Heads of the attention.

    Source: Xu et al., "Enhancing Video Super-Resolution via Implicit Resampling-based Alignment", CVPR 2024, section
    3.3.
    """

    def __init__(self, dim: int, num_heads: int = 6) -> None:
        super().__init__()
        self.num_heads = num_heads
        # Constants; they are part of the state because published checkpoints hold them.
        window = torch.cartesian_prod(*[torch.arange(_WINDOW)] * 2)
        self.register_buffer("window_idx_offset", window)
        self.register_buffer("position_bias", sinusoidal_encoding(window.float(), dim, _LAST).unsqueeze(0))
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)

    def forward(self, reference: Tensor, target: Tensor, flow: Tensor) -> Tensor:
        """Aligns ``reference`` to ``target``.

        Args:
            reference: ``(B, C, H, W)``.
            target: ``(B, C, H, W)``.
            flow: ``(B, 2, H, W)``, in pixels (x, y), target → reference.

        Returns:
            ``(B, C, H, W)``.
        """
        B, C, H, W = target.shape
        corner, remainder = locate(flow)
        window = torch.cartesian_prod(*[torch.arange(_WINDOW, device=flow.device)] * 2).float()  # [4, 2]
        position = (corner.unsqueeze(-2) + window).flatten(1, 3)  # [B, H·W·4, 2]
        cells = encoded_sample(reference.movedim(1, -1), position, window.repeat(B, H * W, 1), _LAST)
        encoding = sinusoidal_encoding(remainder, C, float(_WINDOW))
        q = self.q(target.movedim(1, -1) + encoding.to(target.dtype)).view(B, H, W, 1, self.num_heads, -1)
        k, v = (proj(cells).view(B, H, W, _WINDOW**2, self.num_heads, -1) for proj in (self.k, self.v))
        affinity = (q * k).sum(-1, keepdim=True) * q.shape[-1] ** -0.5  # [B, H, W, 4, heads, 1]
        return (affinity.softmax(-3) * v).sum(-3).flatten(-2).movedim(-1, 1)
