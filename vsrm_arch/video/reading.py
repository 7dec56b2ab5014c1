"""Reading video files: what they hold, whether they are whole, and their frames as they are shown."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsrm_arch.errors import UserError
from vsrm_arch.video.colour import Colour, to_rgb
from vsrm_arch.video.pyav import opened

__all__ = ["VideoFile", "decoded", "upright"]

# So many frames may be missing at the end: headers round, and intact files were seen to lack the last one.
_TOLERATED = 2
# Seconds by which a file's clock may go back; less is a fault of one frame, which is moved.
_JUMP = 1


@dataclass(frozen=True)
class VideoFile:
    """A video file that has been looked through from its first packet to its last.

    Attributes:
        path: The file.
        size: Height and width as shown, after the rotation that the file asks for.
        turns: Quarter turns counter-clockwise that show the frames upright.
        length: Number of frames that are shown.
        duration: Seconds from the first frame to the end of the last.
        end: When the last frame ends, in seconds from the start of the file.
        rate: Average frames a second; None where the file has no times.
        time_base: Unit of the frames' times, in seconds.
        start: When the whole file starts, in seconds; its streams' times count from there.
        pixel_aspect: Width of a pixel by its height, as shown.
        colour: What the samples stand for.
        interlaced: Whether a frame holds two fields of different times.
        transparent: Whether its frames have an alpha channel.
        has_chapters: Whether there are chapters.
        streams: The other streams, by their indices, in words: ``audio (aac)``.
    """

    path: Path
    size: tuple[int, int]
    turns: int
    length: int
    duration: Fraction
    end: Fraction
    rate: Fraction | None
    time_base: Fraction
    start: Fraction
    pixel_aspect: Fraction
    colour: Colour
    interlaced: bool
    transparent: bool
    has_chapters: bool
    streams: dict[int, str]

    @classmethod
    def look_at(cls, path: Path) -> "VideoFile":
        """Reads a file's header and first frame, and every packet without decoding it.

        Args:
            path: The file.

        Raises:
            UserError: If it is no readable video or cut short, its colours are none we can convert, or PyAV is not
                installed.
        """
        first = next(decoded(path), None)
        if first is None:
            raise UserError(f"{path} holds no video frames; leave it out")
        if _is_mirrored(first):
            raise UserError(f"{path} asks to be shown mirrored, which is not done here; mirror it first (ffmpeg)")
        with opened(path) as (container, stream):
            length, begin, end = _whole_length(container, stream, path)
            start = Fraction(container.start_time or 0, 1_000_000)
            turns = round(first.rotation / 90) % 4
            size = (first.height, first.width)
            aspect = stream.sample_aspect_ratio or Fraction(1)
            return cls(
                path=path,
                size=size[::-1] if turns % 2 else size,
                turns=turns,
                length=length,
                duration=end - begin,
                end=end - start,
                rate=stream.average_rate or stream.guessed_rate,
                time_base=stream.time_base,
                start=start,
                pixel_aspect=1 / aspect if turns % 2 else aspect,
                colour=Colour.of(first, str(path)),
                interlaced=bool(first.interlaced_frame),
                transparent=any(component.is_alpha for component in first.format.components),
                has_chapters=bool(container.chapters()),
                streams={other.index: _described(other) for other in container.streams if other is not stream},
            )

    def frames(self) -> Iterator[tuple[NDArray[Any], Fraction]]:
        """The frames as shown, in order.

        Yields:
            ``(H, W, 3)``, RGB, uint8 or uint16 as :func:`~vsrm_arch.video.colour.to_rgb` says, and the frame's time
            in seconds from the start of the file.

        Raises:
            UserError: If a frame cannot be decoded or has another size than the first.
        """
        last: Fraction | None = None
        for i, frame in enumerate(decoded(self.path)):
            size = (frame.width, frame.height) if self.turns % 2 else (frame.height, frame.width)
            if size != self.size:
                raise UserError(
                    f"{self.path}: frame {i} is {size[1]}x{size[0]}, those before it {self.size[1]}x{self.size[0]}; "
                    "cut the file there, and enlarge the parts one by one"
                )
            time = self._time(frame, i)
            # Encoders refuse times that do not rise; broken files repeat some.
            last = time if last is None else max(time, last + self.time_base)
            yield upright(to_rgb(frame, self.colour), self.turns), last

    def _time(self, frame: Any, index: int) -> Fraction:
        if frame.pts is None or frame.time_base is None:  # AVI, say
            return Fraction(index) / (self.rate or 25)
        return Fraction(frame.pts * frame.time_base) - self.start


def decoded(path: Path) -> Iterator[Any]:
    """PyAV's frames of a video file's main stream, in the order they are shown."""
    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        yield from container.decode(stream)


def upright(image: NDArray[Any], turns: int) -> NDArray[Any]:
    """Turns a picture ``(H, W, 3)`` by quarter turns counter-clockwise, as players do."""
    return np.ascontiguousarray(np.rot90(image, turns))


def _is_mirrored(frame: Any) -> bool:
    """By the display matrix: nine 32-bit numbers, of which the first, second, fourth and fifth turn and mirror."""
    data = next((side for side in frame.side_data if side.type.name == "DISPLAYMATRIX"), None)
    if data is None:
        return False
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
    return a * d - b * c < 0


def _whole_length(container: Any, stream: Any, path: Path) -> tuple[int, Fraction, Fraction]:
    """Number of frames shown, when the first begins and when the last ends, by the file's clock.

    A video cut short is found before anything is done with it: it would decode without an error.
    """
    length, begin, end, coded, decoded_at = 0, None, None, None, None
    for packet in container.demux(stream):
        # AVI has no presentation times; the packet that ends the stream has none at all.
        time = packet.dts if packet.pts is None else packet.pts
        if time is None:
            continue
        if decoded_at is not None and packet.dts is not None and (decoded_at - packet.dts) * stream.time_base > _JUMP:
            raise UserError(
                f"{path}: its clock jumps back after {float(decoded_at * stream.time_base):.1f} s, as where files were "
                f"joined; mend it first (ffmpeg -i {path.name} -c copy mended.mkv)"
            )
        decoded_at = packet.dts if packet.dts is not None else decoded_at
        ends = time + (packet.duration or 0)
        coded = ends if coded is None else max(coded, ends)
        if packet.is_discard:  # an edit list leaves it out
            continue
        length += 1
        begin = time if begin is None else min(begin, time)
        end = ends if end is None else max(end, ends)
    declared, rate, unit = _declared_end(container, stream), stream.average_rate, stream.time_base
    if begin is None or end is None or coded is None:
        return length, Fraction(0), Fraction(0)
    if rate and declared is not None:
        missing = round((declared - coded * unit) * rate)
        if missing > _TOLERATED:
            raise UserError(
                f"{path} is cut short: it holds {length} of about {length + missing} frames; fetch it again or leave "
                "it out"
            )
    return length, begin * unit, end * unit


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


def _described(stream: Any) -> str:
    name = stream.codec_context.name if stream.codec_context is not None else "unknown"
    return f"{stream.type} ({name})"
