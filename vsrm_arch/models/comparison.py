"""A picture that shows bicubic enlargement, the network's output and the truth side by side."""

import cv2
import numpy as np
from basicsr.metrics import calculate_psnr

__all__ = ["comparison"]

_CAPTION_HEIGHT = 20
_GAP = 4
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def comparison(bicubic: np.ndarray, ours: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Sets the images side by side, each under a caption with its PSNR (RGB, whole frame).

    Args:
        bicubic: (H, W, 3), uint8, BGR.
        ours: The same frame by the network.
        truth: The true frame; None leaves it and the PSNR out.

    Returns:
        One image, uint8, BGR.
    """
    panels = [_panel(name, image, truth) for name, image in (("bicubic", bicubic), ("ours", ours))]
    if truth is not None:
        panels.append(_panel("truth", truth, None))
    gap = np.full((panels[0].shape[0], _GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def _panel(name: str, image: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    text = name if truth is None else f"{name} {calculate_psnr(image, truth, crop_border=0):.2f} dB"
    caption = np.full((_CAPTION_HEIGHT, image.shape[1], 3), _WHITE, dtype=np.uint8)
    cv2.putText(caption, text, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _BLACK, 1, cv2.LINE_AA)
    return np.concatenate([caption, image])
