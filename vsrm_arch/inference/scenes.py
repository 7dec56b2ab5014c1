"""Where one scene ends and another begins."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SceneCuts"]

# Pictures are compared at about this many pixels a side: noise and small motion are averaged away.
_SIDE = 64
# Of 255: ffmpeg's filter scdet takes 10 % of the range.
_THRESHOLD = 25.5


class SceneCuts:
    """Finds cuts in a film, frame by frame, as ffmpeg's filter scdet does.

    A cut is a frame that differs from the one before, in the mean over its pixels, and does so suddenly: the score is
    the smaller of the difference d and of its change ``|d - d_before|``. Fast motion differs all the time, and so is
    none. A cut that is missed, or found where there is none, costs quality, not more: no frame is lost.

    Args:
        threshold: The score from which on it is a cut, 0 to 255.
    """

    def __init__(self, threshold: float = _THRESHOLD) -> None:
        self.threshold = threshold
        self._last: NDArray[Any] | None = None
        self._difference = 0.0

    def __call__(self, frame: NDArray[Any]) -> bool:
        """Whether a frame begins a scene.

        Args:
            frame: The next frame, ``(H, W, 3)``, RGB, uint8 or uint16.

        Returns:
            True at a cut; the first frame of all is none.
        """
        height, width = frame.shape[:2]
        small = cv2.resize(frame, (min(_SIDE, width), min(_SIDE, height)), interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32) / (257 if frame.dtype == np.uint16 else 1)
        last, self._last = self._last, small
        if last is None:
            return False
        difference = float(np.abs(small - last).mean())
        before, self._difference = self._difference, difference
        return min(difference, abs(difference - before)) >= self.threshold
