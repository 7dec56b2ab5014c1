"""Clips of any length: overlapping windows in time."""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from vsrm_arch.inference.spans import spans

__all__ = ["run_in_windows"]


def run_in_windows(enlarge: Callable[[Tensor], Tensor], lq: Tensor, num_frame: int, overlap: int = 0) -> Tensor:
    """Enlarges a clip window by window.

    Of the frames that two windows share, each takes the half that lies deeper in it, so that frames near a window's
    end serve the other frames as context only.

    Args:
        enlarge: ``(B, T', C, H, W) -> (B, T', C, H', W')`` for any ``T' <= num_frame``.
        lq: ``(B, T, C, H, W)``.
        num_frame: Frames in a window.
        overlap: Frames that neighbouring windows share.

    Returns:
        ``(B, T, C, H', W')``.

    Raises:
        UserError: If ``overlap`` does not fit ``num_frame``.
    """
    num_frames = lq.shape[1]
    windows = spans(num_frames, num_frame, overlap, "window (num_frame, overlap)")
    if len(windows) == 1:
        return enlarge(lq)
    # Frame cuts[i] is the first one that window i gives.
    cuts = [0, *((start + end) // 2 for (_, end), (start, _) in pairwise(windows)), num_frames]
    clip = None
    for i, (start, end) in enumerate(windows):
        part = enlarge(lq[:, start:end])
        if clip is None:
            clip = part.new_empty((part.shape[0], num_frames, *part.shape[2:]))
        clip[:, cuts[i] : cuts[i + 1]] = part[:, cuts[i] - start : cuts[i + 1] - start]
    assert clip is not None
    return clip
