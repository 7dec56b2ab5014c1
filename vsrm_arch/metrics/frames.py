"""Frames as metrics compare them."""

import numpy as np

from vsrm_arch.errors import UserError

__all__ = ["cropped"]


def cropped(img: np.ndarray, img2: np.ndarray, crop_border: int) -> tuple[np.ndarray, np.ndarray]:
    """Leaves the borders of two frames out.

    Args:
        img: ``(H, W, C)``.
        img2: ``(H, W, C)``.
        crop_border: Pixels left out along each border.

    Returns:
        Their inner parts, ``(H - 2 · crop_border, W - 2 · crop_border, C)``.

    Raises:
        ValueError: If the shapes differ.
        UserError: If nothing is left.
    """
    if img.shape != img2.shape:
        raise ValueError(f"shapes differ: {img.shape} and {img2.shape}")
    height, width = img.shape[:2]
    if 2 * crop_border >= min(height, width):
        raise UserError(f"val.metrics: crop_border: {crop_border} leaves nothing of {height}x{width} pixels; lower it")
    inner = np.s_[crop_border : height - crop_border, crop_border : width - crop_border]
    return img[inner], img2[inner]
