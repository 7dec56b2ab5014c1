"""The order in which a scan visits tokens that lie in memory as ``t * S + s`` (frame major).

Nothing is moved for an order: a scan walks through index lists, or through slices where the order allows it.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

__all__ = ["ScanOrder", "Visit", "check_scan_order"]

ScanOrder = Literal["s2t", "t2s"]


def check_scan_order(length: int, scan_order: str, num_frames: int) -> None:
    """Raises a ``ValueError`` unless ``scan_order`` is known and ``num_frames`` divides ``length``."""
    if scan_order not in ("s2t", "t2s"):
        raise ValueError(f"scan_order: expected 's2t' or 't2s', got {scan_order!r}")
    if num_frames < 1 or length % num_frames:
        raise ValueError(f"num_frames: expected a divisor of the {length} tokens, got {num_frames}")


class Visit:
    """One order of visiting ``length`` tokens; step ``i`` visits token ``order[i]``.

    Args:
        length: Number of tokens, ``num_frames * S``.
        scan_order: "s2t": as the tokens lie, all positions of a frame and then the next frame. "t2s": all frames of a
            position and then the next position.
        num_frames: Frames in the sequence; only "t2s" needs it.
        reverse: Visit the same order from its end.
        device: Where the tokens live.
    """

    def __init__(self, length: int, scan_order: str, num_frames: int, reverse: bool, device: torch.device) -> None:
        self.length, self.num_frames, self.reverse = length, num_frames, reverse
        self.index: Tensor | None = None
        if scan_order == "t2s" and 1 < num_frames < length:
            order = torch.arange(length, device=device).view(num_frames, length // num_frames).t().reshape(-1)
            self.index = order.flip(0) if reverse else order

    def take(self, tokens: Tensor, first: int, last: int) -> Tensor:
        """Tokens ``(B, L, ...)`` visited in steps ``first`` to ``last - 1``, as ``(B, last - first, ...)``."""
        if self.index is not None:
            return tokens.index_select(1, self.index[first:last])
        if self.reverse:
            return tokens[:, self.length - last : self.length - first].flip(1)
        return tokens[:, first:last]

    def put(self, tokens: Tensor, first: int, last: int, values: Tensor) -> None:
        """Writes ``values`` where :meth:`take` would have read them."""
        if self.index is not None:
            tokens.index_copy_(1, self.index[first:last], values.to(tokens.dtype))
        elif self.reverse:
            tokens[:, self.length - last : self.length - first] = values.flip(1)
        else:
            tokens[:, first:last] = values

    def visited(self, tokens: Tensor) -> Tensor:
        """All tokens ``(B, L, ...)`` in the order of the visits; differentiable."""
        if self.index is not None:
            tokens = rearrange(tokens, "b (t s) ... -> b (s t) ...", t=self.num_frames)
        return tokens.flip(1) if self.reverse else tokens

    def back(self, visited: Tensor) -> Tensor:
        """The inverse of :meth:`visited`."""
        tokens = visited.flip(1) if self.reverse else visited
        if self.index is not None:
            tokens = rearrange(tokens, "b (s t) ... -> b (t s) ...", t=self.num_frames)
        return tokens
