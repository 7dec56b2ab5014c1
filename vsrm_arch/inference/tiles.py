"""Frames of any size: overlapping tiles, cross-faded."""

from collections.abc import Callable

import torch
from torch import Tensor

from vsrm_arch.inference.spans import spans

__all__ = ["run_in_tiles"]


def run_in_tiles(enlarge: Callable[[Tensor], Tensor], lq: Tensor, scale: int, size: int, overlap: int = 0) -> Tensor:
    """Enlarges a clip tile by tile.

    Where a tile meets what its neighbours have painted, it is cross-faded with a linear ramp. The fade is a lerp, so
    that the weights of all tiles sum to one exactly: tiles that agree give what each of them gives, to the last bit.

    Args:
        enlarge: ``(B, T, C, h, w) -> (B, T, C, scale·h, scale·w)`` for any ``h, w <= size``.
        lq: ``(B, T, C, H, W)``.
        scale: Enlargement.
        size: Side of a tile, in pixels of ``lq``.
        overlap: Pixels of ``lq`` that neighbouring tiles share.

    Returns:
        ``(B, T, C, scale·H, scale·W)``.

    Raises:
        UserError: If ``overlap`` does not fit ``size``.
    """
    height, width = lq.shape[-2:]
    rows = spans(height, size, overlap, "tile (size, overlap)")
    columns = spans(width, size, overlap, "tile (size, overlap)")
    if len(rows) == len(columns) == 1:
        return enlarge(lq)
    frames = None
    painted_rows = 0
    for top, bottom in rows:
        strip = None
        painted_columns = 0
        for left, right in columns:
            tile = enlarge(lq[..., top:bottom, left:right])
            if strip is None:
                strip = tile.new_empty((*tile.shape[:-1], width * scale))
            _paint(strip, tile, left * scale, painted_columns * scale, dim=-1)
            painted_columns = right
        assert strip is not None
        if frames is None:
            frames = strip.new_empty((*strip.shape[:-2], height * scale, width * scale))
        _paint(frames, strip, top * scale, painted_rows * scale, dim=-2)
        painted_rows = bottom
    assert frames is not None
    return frames


def _paint(canvas: Tensor, part: Tensor, start: int, painted: int, dim: int) -> None:
    """Writes ``part`` at ``start``, cross-fading it in over what is painted already, up to ``painted``."""
    shared = painted - start
    if shared:
        ramp = (torch.arange(shared, dtype=part.dtype, device=part.device) + 0.5) / shared
        ramp = ramp if dim == -1 else ramp.unsqueeze(-1)
        canvas.narrow(dim, start, shared).lerp_(part.narrow(dim, 0, shared), ramp)
    fresh = part.shape[dim] - shared
    canvas.narrow(dim, painted, fresh).copy_(part.narrow(dim, shared, fresh))
