"""Attention over all tokens of a clip, which Mamba is compared with (Tab. 3, "Full Attn")."""

import torch.nn.functional as F
from torch import Tensor, nn

from vsrm_arch.layers.projection import project
from vsrm_arch.ops.gated_linear import gated_linear

__all__ = ["FullAttention"]


class FullAttention(nn.Module):
    """Multi-head self-attention among the tokens of all frames: ``W (softmax(Q Kᵀ / sqrt(d)) V)`` (Vaswani et al.).

    It has no positional encoding: the convolutions around it tell where a token lies. Queries, keys, values and the
    result are projected with biases. With C = 72 the network then has 6.68 M parameters; the paper gives 7.68.

    Args:
        dim: C, channels in and out.
        num_heads: Heads of C / num_heads channels.

    Raises:
        ValueError: If the heads do not divide C.
    """

    def __init__(self, dim: int, num_heads: int = 6) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels: change num_heads or embed_dim")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Mixes the tokens of a clip; with ``norm`` as a residual block does, ``x + Attention(norm(x))``.

        Args:
            x: ``(B, T, H, W, C)``.
            norm: The block's LayerNorm over C.

        Returns:
            ``(B, T, H, W, C)``.
        """
        tokens = x.flatten(1, 3)
        qkv = project(self.qkv, tokens, norm).unflatten(-1, (3, self.num_heads, -1))  # [B, L, 3, heads, d]
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        residual = None if norm is None else tokens
        return gated_linear(mixed, self.proj.weight, self.proj.bias, residual).reshape(x.shape)
