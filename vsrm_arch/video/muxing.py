"""Putting a film together: encoded video, and what its source holds besides, which is not encoded again."""

import heapq
import io
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from vsrm_arch.errors import UserError
from vsrm_arch.video.pyav import opened, pyav

__all__ = ["CONTAINERS", "KINDS", "Segment", "copied_streams", "mux"]

_logger = logging.getLogger("basicsr.vsrm_arch")

# Suffix → ffmpeg's name of the container: those that keep any frame's time.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# Kinds of streams beside the main video; a further video is a poster.
KINDS = ("audio", "subtitle", "data", "attachment", "video")
# Of these a film is no poorer without: where the container has no place for one it is left out, with a warning.
_DISPENSABLE = ("data", "attachment", "video")
# What a header says of the file, and not of the film.
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


class Segment(NamedTuple):
    """A part of the video, encoded by itself.

    Attributes:
        path: The file.
        num_frames: Frames in it.
        start: Time of its first frame, in units of the video's time base.
        last: Of its last frame, likewise.
        end: When that ends.
    """

    path: Path
    num_frames: int
    start: int
    last: int
    end: int


def copied_streams(source: Path, output: Path, drop: Collection[str] = ()) -> list[int]:
    """Which streams of a source go into an output, found by writing the output's header to memory.

    Args:
        source: The source file.
        output: The film to be; its suffix is one of ``CONTAINERS``.
        drop: Kinds of streams to leave out, of ``KINDS``.

    Returns:
        Their indices.

    Raises:
        UserError: If the container cannot hold one that the film would be poorer without.
    """
    kept = []
    with opened(source) as (container, main):
        others = [stream for stream in container.streams if stream is not main and stream.type not in drop]
        for stream in others:
            fault = _fault(stream, output)
            name = f"stream {stream.index} of {source}, {stream.type} ({_codec(stream)})"
            if fault is None:
                kept.append(stream.index)
                if stream.type == "video":
                    _logger.warning("%s is copied as it is: one video of a file is enlarged.", name)
            elif stream.type in _DISPENSABLE:
                # In MP4 a data stream holds the titles of the chapters, which are copied by themselves.
                if not (stream.type == "data" and container.chapters()):
                    _logger.warning("%s is left out: it cannot be written into %s.", name, output.name)
            else:
                other = "" if output.suffix.lower() == ".mkv" else "name an output that ends in .mkv, which may, or "
                raise UserError(
                    f"{output} cannot hold {name}: {other}leave it out with --drop {stream.type}, or convert it first"
                )
    return kept


def _codec(stream: Any) -> str:
    return "unknown" if stream.codec_context is None else str(stream.codec_context.name)


def _fault(stream: Any, output: Path) -> str | None:
    av = pyav(f"writing {output}")
    if stream.codec_context is None and stream.type != "attachment":
        return "of no known kind"
    with av.open(io.BytesIO(), "w", format=CONTAINERS[output.suffix.lower()]) as trial:
        try:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
        except (ValueError, av.error.FFmpegError, NotImplementedError) as error:
            return str(error)
    return None


class _OutputError(Exception):
    """A fault of the film that is written, which is none of the source that is read meanwhile."""


def mux(
    output: Path,
    file: Path,
    segments: Sequence[Segment],
    rate: Fraction,
    time_base: Fraction,
    source: Path | None = None,
    copied: Collection[int] = (),
    end: Fraction | None = None,
) -> None:
    """Writes a film from encoded segments, and streams, chapters and metadata of a source.

    Args:
        output: The film; its suffix decides on the container.
        file: Where it is written now.
        segments: The video, in order.
        rate: Average frames a second of the video.
        time_base: Of the video.
        source: The file that the video was made from; None: there is no other stream.
        copied: Indices of the streams to copy from it.
        end: Where the film ends, in seconds, if before the source does.

    Raises:
        UserError: If the source cannot be read.
        OSError: If the film cannot be written.
    """
    av = pyav(f"writing {output}")
    container_format = CONTAINERS[output.suffix.lower()]
    # The index in front, so that a player can start while the rest is on its way.
    options = {"movflags": "+faststart"} if container_format in ("mp4", "mov") else {}
    with _output_faults_raised(), ExitStack() as stack:
        film = stack.enter_context(av.open(str(file), "w", format=container_format, container_options=options))
        first = stack.enter_context(av.open(str(segments[0].path)))
        # Opaque: for AV1 an encoder of the decoder's name would be looked for.
        video = film.add_stream_from_template(first.streams.video[0], opaque=True)
        # What a container says of the rate comes from here; that of a segment's frames is another where times vary.
        video.codec_context.framerate = rate.limit_denominator(100_000)
        video.time_base = time_base
        packets = [_video_packets(segments, time_base, video)]
        if source is not None:
            container, main = stack.enter_context(opened(source))
            _describe(film, container)
            _describe(video, main)
            streams = {index: film.add_stream_from_template(container.streams[index]) for index in copied}
            for index, stream in streams.items():
                _describe(stream, container.streams[index])
                stream.disposition = container.streams[index].disposition
            film.set_chapters(container.chapters())
            start = Fraction(container.start_time or 0, 1_000_000)
            if streams:
                packets.append(_other_packets(container, streams, start, end))
        for _, packet in heapq.merge(*packets, key=lambda timed: timed[0]):
            try:
                film.mux_one(packet)
            except (av.error.FFmpegError, ValueError) as error:
                raise _OutputError from error


@contextmanager
def _output_faults_raised() -> Iterator[None]:
    try:
        yield
    except _OutputError as error:
        raise (error.__cause__ or error) from None


def _describe(new: Any, old: Any) -> None:
    new.metadata.update({key: value for key, value in old.metadata.items() if key.lower() not in _OF_THE_FILE})


def _video_packets(segments: Sequence[Segment], time_base: Fraction, stream: Any) -> Iterator[tuple[Fraction, Any]]:
    """Packets of the segments, their times those of the whole film, with the time at which they are decoded."""
    av = pyav("reading a segment")
    final = segments[-1]
    earliest = last = None
    for segment in segments:
        with av.open(str(segment.path)) as container:
            first: int | None = None
            # The last packet that is demuxed is empty.
            for packet, following in pairwise(container.demux(container.streams.video[0])):
                # Containers round the start of a file, and MP4 counts in fractions of a coarse time base. Times from
                # the first packet on are exact, and that is the first frame: no other can come before it.
                first = packet.pts if first is None else first
                unit = packet.time_base / time_base
                packet.pts = segment.start + round((packet.pts - first) * unit)
                dts = segment.start + round((packet.dts - first) * unit)
                # Where frames last longer than those before, an encoder counts back too far.
                packet.dts = last = dts if last is None else max(dts, last + 1)
                earliest = last if earliest is None else earliest
                packet.duration = round(packet.duration * unit)
                # The last frame may be a still of seconds. MP4 adds up the packets, in the order they are decoded.
                if segment is final and not following.size:
                    delay = segments[0].start - earliest
                    packet.dts = max(packet.dts, packet.pts - delay)
                    packet.duration = final.end - (packet.dts + delay)
                elif packet.pts == final.last:
                    packet.duration = final.end - packet.pts
                packet.time_base = time_base
                packet.stream = stream
                yield packet.dts * time_base, packet


def _other_packets(
    container: Any, streams: dict[int, Any], start: Fraction, end: Fraction | None
) -> Iterator[tuple[Fraction, Any]]:
    last = Fraction(0)
    for packet in container.demux([container.streams[index] for index in streams]):
        if not packet.size:
            continue
        time_base = packet.time_base
        offset = round(start / time_base)
        if packet.pts is not None:
            packet.pts -= offset
        if packet.dts is not None:
            packet.dts -= offset
            last = max(last, packet.dts * time_base)
        # A poster has no time.
        if end is not None and last >= end:
            continue
        packet.stream = streams[packet.stream_index]
        yield last, packet
