"""Clips from video files, with PyAV (the extra ``video``)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsrm_arch.data.errors import DataError
from vsrm_arch.data.prepare.encode import Frame, file_identity
from vsrm_arch.errors import UserError

__all__ = ["VIDEO_SUFFIXES", "VideoClip", "open_video"]

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".y4m")
# So many frames may be missing at the end: headers round, and intact files were seen to lack the last one.
_TOLERATED = 2


@dataclass(frozen=True)
class VideoClip:
    """A video file as a clip; see :class:`~vsrm_arch.data.prepare.encode.Clip`.

    Attributes:
        name: The clip's name in keys.
        path: The file.
        size: Height and width as shown, after the rotation that the file asks for.
        length: Number of coded frames; those that are shown may be fewer.
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
    """Reads a video file's size from its first frame, and sees whether the file is whole.

    Args:
        name: The clip's name in keys.
        path: The file.

    Raises:
        UserError: If PyAV is not installed, or the file is no readable video or cut short.
    """
    first = next(_decoded(path), None)
    if first is None:
        raise DataError(f"{path} holds no video frames; leave it out")
    turned = round(first.rotation / 90) % 2
    size = (first.width, first.height) if turned else (first.height, first.width)
    return VideoClip(name, path, size, _whole_length(path))


def _whole_length(path: Path) -> int:
    """Number of coded frames: a video cut short decodes without an error, and is found before anything is written."""
    with _opened(path) as (container, stream):
        # AVI has no presentation times; the packet that ends the stream has none at all.
        times = ((packet.dts if packet.pts is None else packet.pts, packet) for packet in container.demux(stream))
        ends = [time + (packet.duration or 0) for time, packet in times if time is not None]
        declared, rate, unit = _declared_end(container, stream), stream.average_rate, stream.time_base
    if ends and rate and declared is not None:
        missing = round((declared - max(ends) * unit) * rate)
        if missing > _TOLERATED:
            raise DataError(
                f"{path} is cut short: it holds {len(ends)} of about {len(ends) + missing} frames; "
                "fetch it again or leave it out"
            )
    return len(ends)


def _declared_end(container: Any, stream: Any) -> Fraction | None:
    """When the video ends by the container's header, in seconds; None where ffmpeg guesses from what is there.

    A time, not a number of frames: a stream cut without encoding it again holds frames that are not shown.
    """
    kinds = container.format.name.split(",")
    if "mov" in kinds and stream.duration:
        return Fraction((stream.start_time or 0) + stream.duration) * stream.time_base
    if "avi" in kinds and stream.frames and stream.average_rate:
        return Fraction(stream.frames) / stream.average_rate
    if "matroska" in kinds:
        tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
        if tag:
            return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])
        # The whole file's may be that of its sound.
        if container.duration and len(container.streams) == 1:
            return Fraction(container.duration, 1_000_000)
    return None


def _decoded(path: Path) -> Iterator[Any]:
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        yield from container.decode(stream)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream; faults of reading it are named."""
    av = _pyav(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path} holds no video; leave it out")
            yield container, container.streams.video[0]
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
