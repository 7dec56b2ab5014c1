"""A video in the making: encoded in segments, so that a run that is stopped can go on, and put together at the end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vsrm_arch.errors import UserError, first_line
from vsrm_arch.files import atomic_path
from vsrm_arch.video.colour import from_rgb
from vsrm_arch.video.encoding import Encoding, FrameFormat
from vsrm_arch.video.muxing import CONTAINERS, Segment, mux
from vsrm_arch.video.pyav import pyav
from vsrm_arch.video.record import Record, faults_named, partial_video

__all__ = ["VideoTarget", "check_encoding"]

# x264's longest distance of key frames: a segment costs no key frame of its own.
_SEGMENT_FRAMES = 250


def check_encoding(path: Path, encoding: Encoding, frames: FrameFormat) -> None:
    """Checks before any work is done whether a video can be encoded so; the arguments are :class:`VideoTarget`'s.

    Raises:
        UserError: If the encoder takes no such frames, or the container not what it makes.
    """
    encoding.check((_segment_format(encoding), CONTAINERS[path.suffix.lower()]), frames)


def _segment_format(encoding: Encoding) -> str:
    """MP4 keeps times exactly and takes what any encoder makes but that of ProRes, which QuickTime's takes."""
    return "mov" if encoding.codec.startswith("prores") else "mp4"


class VideoTarget:
    """Writes a video frame by frame. It appears under its name when it is complete.

    Args:
        path: The video; its suffix is one of :data:`~vsrm_arch.video.muxing.CONTAINERS`.
        recipe: What its frames are made from, in a form that JSON can hold.
        encoding: How it is encoded; see :func:`check_encoding`.
        frames: What its frames are.
        source: The file whose other streams, chapters and metadata it gets; None: there is none.
        copied: Indices of those streams.
        end: When the last frame ends, in seconds; None, or no later than it begins: it lasts as long as others.
        resume: Whether to go on after what an earlier run has left.

    Attributes:
        num_done: Frames that are written and kept.

    Raises:
        UserError: If what an earlier run has left was made from something else, or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        recipe: Mapping[str, Any],
        encoding: Encoding,
        frames: FrameFormat,
        source: Path | None = None,
        copied: tuple[int, ...] = (),
        end: Fraction | None = None,
        resume: bool = False,
    ) -> None:
        self.path, self._source, self._copied = path, source, copied
        self._encoding, self._frames, self._end = encoding, frames, end
        self._container: Any = None
        self._stream: Any = None
        self._times: list[int] = []
        self._record = Record(path, recipe, resume)
        with faults_named(path):
            self._record.begin()
        segments = self._segments
        self.num_done = sum(segment.num_frames for segment in segments)
        # A frame's usual duration, and the time of the last frame written, in units of the time base.
        self._usual = max(round(1 / (frames.rate * frames.time_base)), 1)
        self._last = segments[-1].last if segments else None

    @property
    def _segments(self) -> list[Segment]:
        return [Segment(self._record.folder / name, *numbers) for name, *numbers in self._record.parts]

    def write(self, image: NDArray[Any], time: Fraction) -> None:
        """Adds a frame.

        Args:
            image: ``(H, W, 3)``, RGB, uint8 or uint16.
            time: When it is shown, in seconds from the start of the film.

        Raises:
            UserError: If it cannot be written; the segments before are kept.
        """
        with self._faults_named():
            if self._container is None:
                self._open_segment()
            frame = from_rgb(image, self._frames.colour, self._encoding.pix_fmt)
            frame.time_base = self._frames.time_base
            frame.pts = round(time / self._frames.time_base)
            if self._last is not None:
                frame.pts = max(frame.pts, self._last + 1)
            self._last = frame.pts
            self._times.append(frame.pts)
            self._container.mux(self._stream.encode(frame))
            if len(self._times) == _SEGMENT_FRAMES:
                self.keep()

    def keep(self) -> None:
        """Completes the segment that is being written: what it holds outlives the run.

        Where there is no frame yet, nothing is left.
        """
        if self._container is None:
            if not self._record.parts:
                self._record.remove()
            return
        with self._faults_named():
            container, self._container = self._container, None
            container.mux(self._stream.encode(None))
            container.close()
            last = self._times[-1]
            self._record.add(self._file.name, len(self._times), self._times[0], last, last + self._usual)
            self.num_done += len(self._times)

    def finish(self) -> Path:
        """Puts the video together and gives it its name; what lay there before is replaced only now.

        Returns:
            The video.

        Raises:
            UserError: If it cannot be written; the segments are kept.
        """
        self.keep()
        with self._faults_named():
            self._assemble(self.path, self._whole_segments())
            self._record.remove()
            partial_video(self.path).unlink(missing_ok=True)
        return self.path

    def interrupt(self) -> Path | None:
        """Keeps what is written so far, and makes a video of it that can be played.

        Returns:
            The video, ``<name>.partial.<suffix>``; None if there is no frame yet.
        """
        self.keep()
        if not self._record.parts:
            return None
        with self._faults_named():
            partial, segments = partial_video(self.path), self._segments
            self._assemble(partial, segments, end=segments[-1].end * self._frames.time_base)
        return partial

    def _whole_segments(self) -> list[Segment]:
        *others, final = self._segments
        end = 0 if self._end is None else round(self._end / self._frames.time_base)
        return [*others, final._replace(end=end) if end > final.last else final]

    def _open_segment(self) -> None:
        self._file = self._record.folder / f"{len(self._record.parts):06d}.{_segment_format(self._encoding)}"
        self._container = pyav("writing").open(str(self._file), "w", format=_segment_format(self._encoding))
        self._stream = self._encoding.open(self._container, self._frames)
        self._times = []

    def _assemble(self, path: Path, segments: list[Segment], end: Fraction | None = None) -> None:
        with atomic_path(path) as file:
            mux(path, file, segments, self._frames.rate, self._frames.time_base, self._source, self._copied, end)

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        error_type = pyav(f"writing {self.path}").error.FFmpegError
        try:
            with faults_named(self.path):
                yield
        except BaseException as error:
            # A segment that a fault has struck is given up.
            container, self._container = self._container, None
            with suppress(Exception):
                if container is not None:
                    container.close()
            if isinstance(error, error_type | ValueError):  # of the encoder or the container
                fault = getattr(error, "strerror", None) or first_line(error)
                raise UserError(
                    f"{self.path} cannot be written by {self._encoding.codec} ({fault}); choose another --codec or "
                    "another kind of output"
                ) from error
            raise
