"""Clips from video files."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsrm_arch.data.prepare.encode import Frame, file_identity
from vsrm_arch.video import VideoFile, decoded, to_rgb, upright

__all__ = ["VideoClip"]


@dataclass(frozen=True)
class VideoClip:
    """A video file as a clip; see :class:`~vsrm_arch.data.prepare.encode.Clip`.

    Attributes:
        name: The clip's name in keys.
        file: The file.
    """

    name: str
    file: VideoFile

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as shown."""
        return self.file.size

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.file.length

    @property
    def identity(self) -> str:
        """The file's name, bytes and time."""
        return file_identity(self.file.path)

    def frames(self) -> Iterator[Frame]:
        """The frames, in order; colours are converted where they are encoded, in the threads."""
        for i, frame in enumerate(decoded(self.file.path)):
            yield Frame(f"{self.name}/{i:08d}", f"frame {i} of {self.file.path}", _Converter(frame, self.file))


class _Converter:
    """A decoded frame that becomes a picture when it is called."""

    def __init__(self, frame: Any, file: VideoFile) -> None:
        self._frame, self._file = frame, file
        # Frames are stored in 8 bit.
        self._colour = replace(file.colour, depth=8)

    def __call__(self) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = upright(to_rgb(self._frame, self._colour), self._file.turns)[..., ::-1]
        return np.ascontiguousarray(image)
