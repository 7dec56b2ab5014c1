"""A video in the making: encoded in segments, so that a run that is stopped can go on, and put together at the end.

``<name>.partial/`` beside the video holds the segments and a record of them. The video appears under its name when it
is complete.
"""

import errno
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vsrm_arch.errors import UserError
from vsrm_arch.files import atomic_path, remedy, write_text
from vsrm_arch.video.colour import Colour, from_rgb
from vsrm_arch.video.encoding import Encoding
from vsrm_arch.video.muxing import Segment, mux
from vsrm_arch.video.pyav import pyav

__all__ = ["VideoTarget"]

_RECORD = "record.json"
# x264's longest distance of key frames: a segment costs no key frame of its own.
_SEGMENT_FRAMES = 250


class VideoTarget:
    """Writes a video frame by frame.

    Args:
        path: The video; its suffix is one of :data:`~vsrm_arch.video.muxing.CONTAINERS`.
        recipe: What its frames are made from, in a form that JSON can hold.
        encoding: How it is encoded.
        size: Height and width.
        rate: Average frames a second.
        time_base: Unit of the frames' times, in seconds.
        colour: What its samples stand for.
        source: The file whose other streams, chapters and metadata it gets; None: there is none.
        copied: Indices of those streams.
        resume: Whether to go on after what an earlier run has left.

    Attributes:
        num_done: Frames that an earlier run has written.

    Raises:
        UserError: If what an earlier run has left was made from something else, or the encoder takes no such frames.
    """

    def __init__(
        self,
        path: Path,
        recipe: Mapping[str, Any],
        encoding: Encoding,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        colour: Colour,
        source: Path | None = None,
        copied: tuple[int, ...] = (),
        resume: bool = False,
    ) -> None:
        self.path, self.source, self.copied = path, source, copied
        self._recipe, self._encoding, self._size = dict(recipe), encoding, size
        self._rate, self._time_base, self._colour = rate, time_base, colour
        self._work = path.with_name(f"{path.name}.partial")
        self._segments: list[Segment] = []
        self._stream: Any = None
        self._container: Any = None
        self._times: list[int] = []
        self._check_encoder()
        if resume:
            self._segments = read_record(self._work, self._recipe)
        elif self._work.exists():
            shutil.rmtree(self._work)
        self.num_done = sum(segment.num_frames for segment in self._segments)

    def _check_encoder(self) -> None:
        """Opens the encoder on a file in memory: what it refuses is known before any work is done."""
        with pyav(f"writing {self.path}").open(io.BytesIO(), "w", format=self._segment_format) as container:
            self._encoding.open(container, self._size, self._rate, self._time_base, self._colour)

    @property
    def _segment_format(self) -> str:
        """MP4 keeps times exactly and takes every encoder's output but that of ProRes, which its elder sister takes."""
        return "mov" if self._encoding.codec.startswith("prores") else "mp4"

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
            frame = from_rgb(image, self._colour, self._encoding.pix_fmt)
            frame.time_base = self._time_base
            frame.pts = round(time / self._time_base)
            if self._times:
                frame.pts = max(frame.pts, self._times[-1] + 1)
            self._times.append(frame.pts)
            self._container.mux(self._stream.encode(frame))
            if len(self._times) == _SEGMENT_FRAMES:
                self._close_segment()

    def finish(self) -> Path:
        """Puts the video together and gives it its name; what lay there before is replaced only now.

        Returns:
            The video.
        """
        with self._faults_named():
            self._close_segment()
            self._assemble(self.path, end=None)
        shutil.rmtree(self._work)
        self._partial.unlink(missing_ok=True)
        return self.path

    def interrupt(self) -> Path | None:
        """Closes what is written so far and makes a video of it that can be played.

        Returns:
            The video, ``<name>.partial.<suffix>``; None if there is no frame yet.
        """
        with self._faults_named():
            self._close_segment()
            self.num_done = sum(segment.num_frames for segment in self._segments)
            if not self._segments:
                shutil.rmtree(self._work, ignore_errors=True)
                return None
            self._assemble(self._partial, end=self._segments[-1].end * self._time_base)
        return self._partial

    def abandon(self) -> None:
        """Lets go of the segment that is open; those before are kept."""
        container, self._container = self._container, None
        if container is not None:
            with suppress(Exception):
                container.close()

    @property
    def _partial(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")

    def _open_segment(self) -> None:
        self._work.mkdir(parents=True, exist_ok=True)
        self._file = self._work / f"{len(self._segments):06d}.{self._segment_format}"
        self._container = pyav("writing").open(str(self._file), "w", format=self._segment_format)
        self._stream = self._encoding.open(
            self._container, self._size, self._rate, self._time_base, self._colour
        )
        self._times = []

    def _close_segment(self) -> None:
        if self._container is None:
            return
        container, self._container = self._container, None
        container.mux(self._stream.encode(None))
        container.close()
        end = self._times[-1] + round(1 / (self._rate * self._time_base))
        self._segments.append(Segment(self._file, len(self._times), self._times[0], end))
        self._write_record()

    def _write_record(self) -> None:
        segments = [[segment.path.name, *segment[1:]] for segment in self._segments]
        write_text(self._work / _RECORD, json.dumps({"recipe": self._recipe, "segments": segments}))

    def _assemble(self, path: Path, end: Fraction | None) -> None:
        with atomic_path(path) as file:
            mux(path, file, self._segments, self._time_base, self.source, self.copied, end)

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # PyAV's of the file system are some, too
            self.abandon()
            kept = sum(segment.num_frames for segment in self._segments)
            what = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"fails: {error.strerror or error}"
            raise UserError(
                f"{self.path}: the disk {what}; {remedy(error)}, then go on with --resume ({kept} frames are kept in "
                f"{self._work})"
            ) from error


def read_record(work: Path, recipe: Mapping[str, Any]) -> list[Segment]:
    """The segments that an earlier run has left.

    Args:
        work: The folder of the segments.
        recipe: What they must have been made from.

    Returns:
        Those that are whole, in order; none if there is no such folder.

    Raises:
        UserError: If they were made from something else.
    """
    try:
        record = json.loads((work / _RECORD).read_text(encoding="utf-8"))
        made_from, listed = record["recipe"], record["segments"]
        segments = [Segment(work / name, *map(int, numbers)) for name, *numbers in listed]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{work} is damaged: start again without --resume, with --force") from None
    for key, value in recipe.items():
        if made_from.get(key) != json.loads(json.dumps(value)):
            raise UserError(
                f"--resume: what {work} holds was made with {key} {made_from.get(key)}, not {value}; use the same, or "
                "start again with --force"
            )
    missing = next((i for i, segment in enumerate(segments) if not segment.path.is_file()), len(segments))
    return segments[:missing]

