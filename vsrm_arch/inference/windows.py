"""Clips of any length: overlapping windows in time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

from vsrm_arch.inference.spans import check_overlap

__all__ = ["Window", "run_in_windows", "windows"]

Frame = TypeVar("Frame")


class Window(NamedTuple, Generic[Frame]):
    """Neighbouring frames that a network sees in one pass.

    Attributes:
        frames: The frames.
        start: Index in ``frames`` of the first one that this window gives; those before are context.
        stop: Index behind the last one.
        position: Index of ``frames[0]`` in the clip.
    """

    frames: list[Frame]
    start: int
    stop: int
    position: int


def windows(clip: Iterable[Frame], size: int, overlap: int = 0) -> Iterator[Window[Frame]]:
    """Cuts a clip, which may be a stream, into overlapping windows.

    All have the same size, unless the clip is shorter; the last one is moved back so that it ends with the clip. Of the
    frames that two windows share, each gives the half that lies deeper in it, so that frames near a window's end serve
    the other frames as context only. No more than two windows' frames are held at a time.

    Args:
        clip: The frames.
        size: Frames in a window.
        overlap: Frames that neighbouring windows share.

    Yields:
        The windows; together they give every frame once, in order.

    Raises:
        UserError: If ``overlap`` does not fit ``size``.

    Example:
        >>> [(window.frames, window.start, window.stop) for window in windows(range(7), size=4, overlap=2)]
        [([0, 1, 2, 3], 0, 3), ([2, 3, 4, 5], 1, 3), ([3, 4, 5, 6], 2, 4)]
    """
    check_overlap(size, overlap, "window (num_frame, overlap)")
    stride = size - overlap
    held: list[Frame] = []
    # Indices in the clip: of the first frame held, and of the first one that is still to be given.
    position = given = 0
    for frame in clip:
        held.append(frame)
        if len(held) == size + stride:
            # The next window is whole: it begins a stride further on.
            following = position + stride
            stop = (following + position + size) // 2
            yield Window(held[:size], given - position, stop - position, position)
            held, position, given = held[stride:], following, stop
    if len(held) > size:
        # The last window reaches back to be whole as well.
        last = position + len(held) - size
        stop = (last + position + size) // 2
        yield Window(held[:size], given - position, stop - position, position)
        held, position, given = held[-size:], last, stop
    if held:
        yield Window(held, given - position, len(held), position)


def run_in_windows(enlarge: Callable[[Tensor], Tensor], lq: Tensor, num_frame: int, overlap: int = 0) -> Tensor:
    """Enlarges a clip in :func:`windows`.

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
    clip = None
    for window in windows(range(num_frames), num_frame, overlap):
        first = window.position
        part = enlarge(lq[:, first : first + len(window.frames)])
        if len(window.frames) == num_frames:
            return part
        if clip is None:
            clip = part.new_empty((part.shape[0], num_frames, *part.shape[2:]))
        clip[:, first + window.start : first + window.stop] = part[:, window.start : window.stop]
    assert clip is not None
    return clip
