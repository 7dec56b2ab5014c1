"""MATLAB's antialiased bicubic reduction by a whole factor: the degradation behind every "BI" test set."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["downscale", "downscale_window"]

# The cubic kernel reaches two low-resolution pixels to each side, so four blocks of ``scale`` pixels hold its support.
_BLOCKS = 4


@lru_cache(maxsize=8)
def _kernel(scale: int) -> tuple[NDArray[np.float64], int]:
    """Weights of one output pixel, ``(4, scale)`` in blocks, and how far they reach left of its first input pixel."""
    centre = (scale - 1) / 2
    start = int(np.ceil(centre - 2 * scale))
    distance = np.abs((np.arange(_BLOCKS * scale) + start - centre) / scale)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    return (weights / weights.sum()).reshape(_BLOCKS, scale), -start


def _reduce_rows(image: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Filters and subsamples the first axis of a ``(H, K)`` array; the border is mirrored, its pixels included."""
    weights, left = _kernel(scale)
    rows = image.shape[0] // scale
    padded = np.pad(image, ((left, (_BLOCKS - 1) * scale - left), (0, 0)), mode="symmetric")
    blocks = weights @ padded.reshape(rows + _BLOCKS - 1, scale, -1)  # [rows + 3, 4, K]
    return sum(blocks[i : i + rows, i] for i in range(_BLOCKS))  # type: ignore[return-value]


def downscale(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Reduces an 8-bit picture as MATLAB's ``imresize(image, 1 / scale)`` does on doubles.

    For a whole factor all output pixels share one kernel, so that each direction is one small matrix product. The
    result agrees with ``basicsr.utils.matlab_functions.imresize`` up to that function's float32 noise, which can tip
    a tie in the last rounding by one grey level.

    Args:
        image: ``(H, W, C)``, values 0 to 255; ``H`` and ``W`` are multiples of ``scale``.
        scale: The factor, a whole number >= 1.

    Returns:
        ``(H / scale, W / scale, C)``, rounded to the nearest grey level.

    Raises:
        ValueError: If a side is no multiple of ``scale``.

    Example:
        >>> downscale(np.full((8, 12, 3), 7, np.uint8), 4).shape
        (2, 3, 3)
    """
    height, width, channels = image.shape
    if height % scale or width % scale:
        raise ValueError(f"sides {height}x{width} are no multiples of {scale}")
    if scale == 1:
        return image.copy()
    short = _reduce_rows(image.reshape(height, -1).astype(np.float64), scale)
    turned = short.reshape(-1, width, channels).swapaxes(0, 1).reshape(width, -1)
    small = _reduce_rows(turned, scale).reshape(width // scale, -1, channels).swapaxes(0, 1)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def downscale_window(
    image: NDArray[np.uint8], scale: int, top: int, left: int, height: int, width: int
) -> NDArray[np.uint8]:
    """Cuts a window out of the reduced picture without reducing the whole of it.

    Args:
        image: ``(H, W, C)``, sides multiples of ``scale``.
        scale: The factor.
        top: First row of the window, in pixels of the reduced picture.
        left: First column, likewise.
        height: Rows of the window.
        width: Columns of the window.

    Returns:
        ``(height, width, C)``, equal to the same window of :func:`downscale`.
    """
    # Two reduced pixels around the window hold all that its kernels reach; at the border less is there, and mirrored.
    first_row, first_column = max(top - 2, 0), max(left - 2, 0)
    part = image[first_row * scale : (top + height + 2) * scale, first_column * scale : (left + width + 2) * scale]
    small = downscale(part, scale)
    top, left = top - first_row, left - first_column
    return small[top : top + height, left : left + width]
