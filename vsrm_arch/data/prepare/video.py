"""Clips from video files, with PyAV (the extra ``video``)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsrm_arch.data.errors import DataError
from vsrm_arch.data.prepare.encode import Frame, file_identity
from vsrm_arch.errors import UserError

__all__ = ["VIDEO_SUFFIXES", "VideoClip", "open_video"]

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".y4m")


@dataclass(frozen=True)
class VideoClip:
    """A video file as a clip; see :class:`~vsrm_arch.data.prepare.encode.Clip`.

    Attributes:
        name: The clip's name in keys.
        path: The file.
        size: Height and width as shown, after the rotation that the file asks for.
        length: Number of frames as the file has it: an estimate.
    """

    name: str
    path: Path
    size: tuple[int, int]
    length: int

    @property
    def identity(self) -> str:
        """The file's name, bytes and time."""
        return file_identity(self.path)

    def frames(self) -> Iterator[Frame]:
        """The frames, in order; colours are converted where they are encoded, in the threads."""
        for i, frame in enumerate(_decoded(self.path)):
            yield Frame(f"{self.name}/{i:08d}", f"frame {i} of {self.path}", _Converter(frame))


class _Converter:
    """A decoded frame that becomes a picture when it is called."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def __call__(self) -> NDArray[np.uint8]:
        return _upright(self._frame.to_ndarray(format="bgr24"), self._frame)


def _upright(image: NDArray[np.uint8], frame: Any) -> NDArray[np.uint8]:
    """Turns a picture as players do; the angle is counter-clockwise, in degrees."""
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def open_video(name: str, path: Path) -> VideoClip:
    """Reads a video file's size from its first frame.

    Args:
        name: The clip's name in keys.
        path: The file.

    Raises:
        UserError: If PyAV is not installed, or the file is no readable video.
    """
    av = _pyav(path)
    first = next(_decoded(path), None)
    if first is None:
        raise DataError(f"{path} holds no video frames; leave it out")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
        length = stream.frames or round(seconds * float(stream.average_rate or 0))
    turned = round(first.rotation / 90) % 2
    size = (first.width, first.height) if turned else (first.height, first.width)
    return VideoClip(name, path, size, length)


def _decoded(path: Path) -> Iterator[Any]:
    av = _pyav(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path} holds no video; leave it out")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield from container.decode(stream)
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{path} is no readable video ({error.strerror}); leave it out or fetch it again") from None


def _pyav(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise UserError(f'reading {path} needs PyAV: pip install "vsrm-arch[video]"') from None
    if not hasattr(av.VideoFrame, "rotation"):
        raise UserError(f'PyAV {av.__version__} is too old to read {path}: pip install --upgrade "vsrm-arch[video]"')
    return av
