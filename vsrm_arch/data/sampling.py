"""Which frames a training item takes: stride, border and order, as pure functions of a few numbers."""

__all__ = ["mirrored", "reach", "reflect", "window"]


def reach(num_frame: int, interval: int) -> int:
    """Frames from the first to the last of a window, both included."""
    return (num_frame - 1) * interval + 1


def reflect(index: int, length: int) -> int:
    """Folds any index into ``[0, length)`` as a ball bouncing between the clip's ends, which are not doubled."""
    if length == 1:
        return 0
    period = 2 * (length - 1)
    index %= period
    return min(index, period - index)


def window(start: int, num_frame: int, interval: int, length: int) -> list[int]:
    """Frame indices of a window; where it runs over the clip's end it turns back.

    Args:
        start: First frame.
        num_frame: Number of frames.
        interval: Step between two frames, in frames of the clip.
        length: Number of frames in the clip.

    Returns:
        ``num_frame`` indices within ``[0, length)``.
    """
    return [reflect(start + i * interval, length) for i in range(num_frame)]


def mirrored(indices: list[int]) -> list[int]:
    """A window and its mirror image in time: seven frames become fourteen, the middle one twice in a row."""
    return indices + indices[::-1]
