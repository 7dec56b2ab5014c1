"""The order in which a scan visits tokens that lie in memory as ``t * S + s`` (frame major).

Nothing is moved for an order: a scan walks through views of the tokens.
"""

from collections.abc import Iterator
from typing import Literal

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
    """The visits to tokens in an order.

    Ranges of visits are counted from the start of the order, also if ``reverse`` is set: whoever takes ranges walks
    through them from the end then, which costs nothing, where turning each of them around would copy it.

    Args:
        length: Number of tokens, ``num_frames * S``.
        scan_order: "s2t": as the tokens lie, all positions of a frame and then the next frame. "t2s": all frames of a
            position and then the next position.
        num_frames: Frames in the sequence; only "t2s" needs it.
        reverse: Visit the same order from its end.
    """

    def __init__(self, length: int, scan_order: str, num_frames: int, reverse: bool) -> None:
        self.length, self.reverse = length, reverse
        self._frames = num_frames if scan_order == "t2s" and 1 < num_frames < length else 1

    def take(self, tokens: Tensor, first: int, last: int) -> Tensor:
        """Tokens ``(B, L, ...)`` number ``first`` to ``last - 1`` of the order, as ``(B, last - first, ...)``."""
        if self._frames == 1:
            return tokens[:, first:last]
        taken = tokens.new_empty(tokens.shape[0], last - first, *tokens.shape[2:])
        for part, place in self._parts(tokens, taken, first, last):
            part.copy_(place)
        return taken

    def put(self, tokens: Tensor, first: int, last: int, values: Tensor) -> None:
        """Writes ``values`` where :meth:`take` would have read them."""
        if self._frames == 1:
            tokens[:, first:last] = values
            return
        for part, place in self._parts(tokens, values, first, last):
            place.copy_(part)

    def _parts(self, tokens: Tensor, taken: Tensor, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Views ``(B, positions, frames, ...)`` of a range and of its places in the tokens; three at most."""
        grid = tokens.unflatten(1, (self._frames, -1)).transpose(1, 2)  # [B, S, T, ...]
        at = first
        while at < last:
            position, frame = divmod(at, self._frames)
            # Whole positions at once; in the first and the last one, perhaps only some of the frames.
            whole = (last - at) // self._frames if frame == 0 else 0
            frames = slice(frame, frame + self._frames if whole else min(self._frames, frame + last - at))
            place = grid[:, position : position + max(1, whole), frames]
            count = place.shape[1] * place.shape[2]
            yield taken[:, at - first : at - first + count].unflatten(1, place.shape[1:3]), place
            at += count

    def visited(self, tokens: Tensor) -> Tensor:
        """All tokens ``(B, L, ...)`` in the order of the visits; differentiable."""
        if self._frames > 1:
            tokens = rearrange(tokens, "b (t s) ... -> b (s t) ...", t=self._frames)
        return tokens.flip(1) if self.reverse else tokens

    def back(self, visited: Tensor) -> Tensor:
        """The inverse of :meth:`visited`."""
        tokens = visited.flip(1) if self.reverse else visited
        if self._frames > 1:
            tokens = rearrange(tokens, "b (s t) ... -> b (t s) ...", t=self._frames)
        return tokens
