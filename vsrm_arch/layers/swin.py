"""Shifted-window transformer over a few frames: the backbone of PSRT-recurrent and IART."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vsrm_arch.layers.blocks import per_frame, refine_centre
from vsrm_arch.ops.gated_linear import gated_linear
from vsrm_arch.ops.norm_linear import norm_linear
from vsrm_arch.sizes import SizeRequirements, pad_to

__all__ = ["SwinBackbone", "SwinBlock", "SwinGroup", "WindowAttention"]

# Frames that a branch sees: the previous one, the current one, and the one before the previous.
_NUM_FRAMES = 3


class WindowAttention(nn.Module):
    """Multi-head self-attention in windows of all frames, with a learned bias for each relative position.

    ``softmax(q kᵀ / √d + bias) v`` among the tokens of each window, T x window x window.

    Args:
        dim: C, channels in and out.
        num_heads: Heads; C is a multiple of it.
        window: Side of a window in pixels.
        shift: How far the windows are shifted in y and x. The frame is rolled for it, and tokens from opposite edges
            that meet in a window do not see each other.

    Source: Video Swin Transformer (Liu et al., CVPR 2022), section 3.2, as PSRT-recurrent uses it.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int = 6, window: int = 8, shift: int = 0) -> None:
        super().__init__()
        self.num_heads, self.window, self.shift = num_heads, window, shift
        index, offsets = _relative_positions(window)
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, num_heads))
        # A constant; it is part of the state because published checkpoints hold it.
        self.register_buffer("relative_position_index", index)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """A residual block's first half, ``x + Attention(norm(x))``.

        Args:
            x: ``(B, 3, H, W, C)``; the window's side divides H and W.
            norm: The block's LayerNorm over C.

        Returns:
            ``(B, 3, H, W, C)``.
        """
        side, shift = self.window, self.shift
        qkv = norm_linear(x, norm.weight, norm.bias, self.qkv.weight, self.qkv.bias, eps=norm.eps)
        qkv = qkv.roll((-shift, -shift), dims=(2, 3))
        q, k, v = rearrange(
            qkv, "b t (y h) (x w) (k n d) -> k b y x n (t h w) d", k=3, n=self.num_heads, h=side, w=side
        )
        y = rearrange(self._attend(q, k, v), "b y x n (t h w) d -> b t (y h) (x w) (n d)", h=side, w=side)
        return gated_linear(y.roll((shift, shift), dims=(2, 3)), self.proj.weight, self.proj.bias, x)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention in each window: ``(B, Y, X, heads, tokens, d)`` → the same."""
        bias = self.relative_position_bias_table[self.relative_position_index].movedim(-1, 0).to(q.dtype)
        if not self.shift:
            return _attention(q, k, v, bias)
        # Opposite edges of the frame meet in the last row and the last column of windows only. Four masks for all
        # windows take far less memory than one for each.
        position = torch.arange(len(self.relative_position_index), device=q.device)
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


class _MLP(nn.Module):
    """``Linear(GELU(Linear(x)))``."""

    def __init__(self, dim: int, expand: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, expand * dim)
        self.fc2 = nn.Linear(expand * dim, dim)

    def forward(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """A residual block's second half, ``x + MLP(norm(x))``; ``(..., C)`` → ``(..., C)``."""
        hidden = norm_linear(x, norm.weight, norm.bias, self.fc1.weight, self.fc1.bias, eps=norm.eps)
        return gated_linear(F.gelu(hidden), self.fc2.weight, self.fc2.bias, x)


class SwinBlock(nn.Module):
    """``x + Attention(LN(x))``, then ``x + MLP(LN(x))``.

    Args:
        dim: C, channels.
        num_heads: Heads of the attention.
        window: Side of its windows in pixels.
        shift: Their shift in pixels.
        expand: Expansion of the MLP.
    """

    def __init__(self, dim: int, num_heads: int = 6, window: int = 8, shift: int = 0, expand: int = 2) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window, shift)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = _MLP(dim, expand)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W, C)`` → ``(B, 3, H, W, C)``."""
        x = self.attn(x, self.norm1)
        return self.mlp(x, self.norm2)


class SwinGroup(nn.Module):
    """``x + conv(SwinBlock^depth(x))``, every second block with shifted windows; the convolution 3x3, per frame.

    Args:
        dim: C, channels.
        depth: Number of blocks.
        num_heads: Heads of the attention.
        window: Side of its windows in pixels.
    """

    def __init__(self, dim: int, depth: int = 6, num_heads: int = 6, window: int = 8) -> None:
        super().__init__()
        blocks = (SwinBlock(dim, num_heads, window, window // 2 * (i % 2)) for i in range(depth))
        self.residual_group = nn.ModuleDict({"blocks": nn.Sequential(*blocks)})
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W, C)`` → ``(B, 3, H, W, C)``."""
        return x + per_frame(self.conv, self.residual_group["blocks"](x))


class SwinBackbone(nn.Module):
    """The backbone of a propagation branch in PSRT-recurrent and IART.

    LayerNorm → groups of Swin blocks → LayerNorm → the centre (current) frame → 3x3 convolution → plus the current
    frame's input feature.

    Modules bear their published names. Three of them do nothing: published checkpoints hold them, and they count among
    the published parameters.

    Args:
        dim: C, channels.
        depths: Blocks of each group.
        num_heads: Heads of the attention.
        window: Side of its windows in pixels.

    Source: Shi et al., "Rethinking Alignment in Video Super-Resolution Transformers", NeurIPS 2022, and their code.
    """

    def __init__(self, dim: int, depths: Sequence[int] = (6, 6, 6), num_heads: int = 6, window: int = 8) -> None:
        super().__init__()
        self.sizes = SizeRequirements(multiple_of=window)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(dim)})
        self.layers = nn.Sequential(*(SwinGroup(dim, depth, num_heads, window) for depth in depths))
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.conv_first_feat = nn.Conv2d(64, dim, 3, padding=1)
        self.conv_before_upsample = nn.Conv2d(dim, 64, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        # They never get a gradient, and distributed training would wait for one.
        for unused in (self.conv_first, self.conv_first_feat, self.conv_before_upsample):
            unused.requires_grad_(False)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, 3, C, H, W)``, the current frame in the centre → ``(B, C, H, W)``; any H and W."""
        return refine_centre(clip, self.patch_embed["norm"], self._body, self.norm, self.conv_after_body)

    def _body(self, x: Tensor) -> Tensor:
        H, W = x.shape[2:4]
        x = pad_to(x.movedim(-1, 2), self.sizes).movedim(2, -1)
        return self.layers(x)[:, :, :H, :W]


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
