"""Attention, which Mamba is compared with (Tab. 3): among all tokens of a clip, and in windows."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vsrm_arch.layers.projection import project
from vsrm_arch.ops.gated_linear import gated_linear

__all__ = ["FullAttention", "WindowAttention"]

# Frames that a branch sees: the previous one, the current one, and the one before the previous.
_NUM_FRAMES = 3


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


class WindowAttention(nn.Module):
    """Multi-head self-attention in windows of all frames, with a learned bias for each relative position.

    ``softmax(q kᵀ / √d + bias) v`` among the tokens of each window, T x window x window.

    Args:
        dim: C, channels in and out.
        num_heads: Heads; C is a multiple of it.
        window: Side of a window in pixels.
        shift: How far the windows are shifted in y and x. The frame is rolled for it, and tokens from opposite edges
            that meet in a window do not see each other.
        relative_bias: Whether there is a bias for each relative position. Without, the clip may have any number of
            frames.

    Raises:
        ValueError: If the heads do not divide C.

    Source: Video Swin Transformer (Liu et al., CVPR 2022), section 3.2, as PSRT-recurrent uses it.
    """

    relative_position_index: Tensor

    def __init__(
        self, dim: int, num_heads: int = 6, window: int = 8, shift: int = 0, relative_bias: bool = True
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels: change num_heads or embed_dim")
        self.num_heads, self.window, self.shift = num_heads, window, shift
        self.relative_bias = relative_bias
        if relative_bias:
            index, offsets = _relative_positions(window)
            self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, num_heads))
            nn.init.normal_(self.relative_position_bias_table, std=0.02)
            # A constant; it is part of the state because published checkpoints hold it.
            self.register_buffer("relative_position_index", index)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Mixes the tokens of each window; with ``norm`` as a residual block does, ``x + Attention(norm(x))``.

        Args:
            x: ``(B, T, H, W, C)``; the window's side divides H and W. With the bias T is 3.
            norm: The block's LayerNorm over C.

        Returns:
            ``(B, T, H, W, C)``.
        """
        side, shift = self.window, self.shift
        qkv = project(self.qkv, x, norm)
        qkv = qkv.roll((-shift, -shift), dims=(2, 3))
        q, k, v = rearrange(
            qkv, "b t (y h) (x w) (k n d) -> k b y x n (t h w) d", k=3, n=self.num_heads, h=side, w=side
        )
        y = rearrange(self._attend(q, k, v), "b y x n (t h w) d -> b t (y h) (x w) (n d)", h=side, w=side)
        residual = None if norm is None else x
        return gated_linear(y.roll((shift, shift), dims=(2, 3)), self.proj.weight, self.proj.bias, residual)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention in each window: ``(B, Y, X, heads, tokens, d)`` → the same."""
        if self.relative_bias:
            bias = self.relative_position_bias_table[self.relative_position_index].movedim(-1, 0).to(q.dtype)
        else:
            bias = q.new_zeros(1, q.shape[-2], q.shape[-2])
        if not self.shift:
            return _attention(q, k, v, bias)
        # Opposite edges of the frame meet in the last row and the last column of windows only. Four masks for all
        # windows take far less memory than one for each.
        position = torch.arange(q.shape[-2], device=q.device)
        below = position // self.window % self.window >= self.window - self.shift
        right = position % self.window >= self.window - self.shift

        def apart(side: Tensor) -> Tensor:
            return side.unsqueeze(0) != side.unsqueeze(1)

        rows = []
        for last_row in (False, True):
            row = []
            for last_column in (False, True):
                hidden = (apart(below) & last_row) | (apart(right) & last_column)
                ys = slice(-1, None) if last_row else slice(-1)
                xs = slice(-1, None) if last_column else slice(-1)
                mask = bias.masked_fill(hidden, -torch.inf)
                row.append(_attention(q[:, ys, xs], k[:, ys, xs], v[:, ys, xs], mask))
            rows.append(torch.cat(row, dim=2))
        return torch.cat(rows, dim=1)


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention of windows ``(B, Y, X, heads, tokens, d)`` that have one bias ``(heads, tokens, tokens)``."""
    shape = q.shape
    q, k, v = (tensor.flatten(0, 2) for tensor in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.unsqueeze(0)).reshape(shape)


def _relative_positions(window: int) -> tuple[Tensor, int]:
    """For each pair of a window's tokens the index of the one's position relative to the other, and their number.

    Args:
        window: Side of the window.

    Returns:
        ``(tokens, tokens)``, tokens = 3 · window², both in raster order; and (2 · 3 - 1) · (2 · window - 1)².
    """
    spans = [2 * side - 1 for side in (_NUM_FRAMES, window, window)]
    position = torch.cartesian_prod(*(torch.arange(side) for side in (_NUM_FRAMES, window, window)))
    distance = position.unsqueeze(1) - position.unsqueeze(0)  # [tokens, tokens, 3]
    t, y, x = (distance[..., axis] + span // 2 for axis, span in enumerate(spans))
    return (t * spans[1] + y) * spans[2] + x, spans[0] * spans[1] * spans[2]
