"""The work of every `prepare` command: read clips, make their low resolution, write both."""

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vsrm_arch.data.bicubic import downscale
from vsrm_arch.data.errors import DataError
from vsrm_arch.data.images import encode_png, image_size, read_image
from vsrm_arch.data.prepare.targets import Target, writing
from vsrm_arch.wording import counted

__all__ = [
    "Clip",
    "Frame",
    "ImageClip",
    "check_official_size",
    "default_workers",
    "file_identity",
    "recipe",
    "write_pair",
]

_logger = logging.getLogger("basicsr.vsrm_arch")


@dataclass(frozen=True)
class Frame:
    """A frame to be encoded.

    Attributes:
        key: ``clip/frame``.
        where: Its file, for messages.
        load: Gives the ground truth, ``(H, W, 3)`` BGR.
        load_low: Gives the low resolution where it exists; else it is made.
    """

    key: str
    where: str
    load: Callable[[], NDArray[np.uint8]]
    load_low: Callable[[], NDArray[np.uint8]] | None = None


class Clip(Protocol):
    """A source of frames.

    Attributes:
        name: The clip's name in keys.
        size: Height and width of its frames before cropping.
        length: Number of frames, for the progress bar.
        identity: What tells this clip from another of the same name, for the recipe.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def length(self) -> int: ...  # noqa: D102
    @property
    def identity(self) -> str: ...  # noqa: D102

    def frames(self) -> Iterator[Frame]:
        """The frames, in order."""


@dataclass(frozen=True)
class ImageClip:
    """A clip of image files.

    Attributes:
        name: The clip's name in keys.
        folder: Where its frames lie.
        files: Their names, in order.
        size: Their height and width.
        numbered: Whether keys count the frames from ``00000000``; else they keep the files' names.
        low_folder: Where the low resolution lies, under the same names, if it comes with the data set.
    """

    name: str
    folder: Path
    files: Sequence[str]
    size: tuple[int, int]
    numbered: bool = False
    low_folder: Path | None = None

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.files)

    @cached_property
    def identity(self) -> str:
        """Name, bytes and time of every file: without reading any, tells whether one was replaced."""
        folders = [folder for folder in (self.folder, self.low_folder) if folder is not None]
        return " ".join(file_identity(folder / file) for folder in folders for file in self.files)

    def frames(self) -> Iterator[Frame]:
        """The frames, in order."""
        for i, file in enumerate(self.files):
            key = f"{self.name}/{i:08d}" if self.numbered else f"{self.name}/{Path(file).stem}"
            low = None if self.low_folder is None else partial(read_image, self.low_folder / file)
            yield Frame(key, str(self.folder / file), partial(read_image, self.folder / file), low)


def file_identity(path: Path) -> str:
    """What tells a file from another of the same name, without reading it."""
    status = path.stat()
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"


def check_official_size(path: Path, size: tuple[int, int]) -> None:
    """Checks a frame of a data set whose frames have one official size.

    Args:
        path: The frame.
        size: The official height and width.

    Raises:
        DataError: If the frame has another.
    """
    height, width = image_size(path)
    if (height, width) != size:
        hint = "is this the low resolution?" if height < size[0] else "fetch the official frames"
        raise DataError(
            f"{path} is {width}x{height}, expected {size[1]}x{size[0]}; {hint} (`basicsr prepare clips` takes any size)"
        )


def default_workers() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def recipe(clips: Sequence[Clip], scale: int, low: str | None) -> dict[str, object]:
    """Says what a target holds, so that a later run can tell whether it is the same.

    Args:
        clips: The clips.
        scale: The sides are cropped to a multiple of it.
        low: How the low resolution was made, ``None`` for the ground truth.
    """
    digest = hashlib.sha256()
    for clip in clips:
        height, width = (side - side % scale for side in clip.size)
        digest.update(f"{clip.name} {height}x{width} {clip.identity}\n".encode())
    held: dict[str, object] = {"version": 2, "clips": len(clips), "sha256": digest.hexdigest()}
    return held if low is None else {**held, "scale": scale, "low": low}


def write_pair(
    clips: Sequence[Clip],
    gt: Target | None,
    lq: Target | None,
    scale: int,
    workers: int,
    title: str,
    kept: str | None = None,
) -> None:
    """Writes the ground truth and the low resolution of clips, each frame read once.

    Frames are encoded in threads (decoding, resampling and encoding leave Python's lock), and written in order.

    Args:
        clips: What to write.
        gt: Where the ground truth goes, if anywhere.
        lq: Where the low resolution goes, if anywhere.
        scale: The factor between them; sides that it does not divide are cropped at the right and at the bottom.
        workers: Number of threads.
        title: What the progress bar says.
        kept: What a message says of the work when it is stopped, if whoever calls does not keep it.

    Raises:
        UserError: If a frame is unreadable or of another size than its clip, or if the disk is full. What was written
            before is kept, as it is after Ctrl-C or a kill.
    """
    targets = [target for target in (gt, lq) if target is not None and not target.finished]
    for target in (gt, lq):
        if target is not None and target.finished:
            _logger.info("%s is complete already", target.path)
    if not targets:
        return
    cropped = [clip for clip in clips if clip.size[0] % scale or clip.size[1] % scale]
    for clip in cropped[:5]:
        height, width = (side - side % scale for side in clip.size)
        _logger.info("%s: %dx%d cropped to %dx%d, multiples of %d", clip.name, *clip.size[::-1], width, height, scale)
    if len(cropped) > 5:
        _logger.info("… and %s more cropped in the same way", counted(len(cropped) - 5, "clip"))

    def what_is_kept() -> str:
        begun = " and ".join(str(target.partial) for target in targets if target.partial.exists())
        return kept or (f"what is done is kept in {begun}" if begun else "nothing was written")

    try:
        with writing(targets[0].path.parent, what_is_kept):
            _write(clips, gt if gt in targets else None, lq if lq in targets else None, scale, workers, title)
            for target in targets:
                target.finish()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{what_is_kept()}; to go on give the same command again") from None
    finally:
        for target in targets:
            target.close()


def _write(clips: Sequence[Clip], gt: Target | None, lq: Target | None, scale: int, workers: int, title: str) -> None:
    have_gt, have_lq = (target.open() if target else None for target in (gt, lq))
    waiting: deque[tuple[str, Future[tuple[bytes | None, bytes | None]]]] = deque()

    def write_next() -> None:
        key, future = waiting.popleft()
        gt_png, lq_png = future.result()
        if gt is not None and gt_png is not None:
            gt.put(key, gt_png)
        if lq is not None and lq_png is not None:
            lq.put(key, lq_png)
        progress.update()

    with (
        # disable=None: a bar on a terminal, nothing in a log.
        tqdm(total=sum(clip.length for clip in clips), desc=title, unit="frame", disable=None) as progress,
        ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool,
    ):
        try:
            for clip in clips:
                for frame in clip.frames():
                    want_gt = have_gt is not None and frame.key not in have_gt
                    want_lq = have_lq is not None and frame.key not in have_lq
                    if not (want_gt or want_lq):
                        progress.update()
                        continue
                    waiting.append((frame.key, pool.submit(_encode, frame, clip.size, scale, want_gt, want_lq)))
                    if len(waiting) > 4 * workers:
                        write_next()
            while waiting:
                write_next()
        finally:
            # After a fault or Ctrl-C: nothing more is begun, and what was written so far survives.
            pool.shutdown(wait=True, cancel_futures=True)
            for target in (gt, lq):
                if target is not None:
                    target.flush()


def _encode(
    frame: Frame, size: tuple[int, int], scale: int, want_gt: bool, want_lq: bool
) -> tuple[bytes | None, bytes | None]:
    """PNGs of a frame's two resolutions; ``None`` where it is not wanted."""
    image = frame.load()
    if image.shape[:2] != size:
        raise DataError(
            f"{frame.where} has {image.shape[1]}x{image.shape[0]} pixels, its clip {size[1]}x{size[0]}; "
            "the frames of a clip must have one size"
        )
    height, width = (side - side % scale for side in size)
    image = image[:height, :width]
    low_png = None
    if want_lq:
        low = downscale(image, scale) if frame.load_low is None else frame.load_low()
        if low.shape[:2] != (height // scale, width // scale):
            raise DataError(
                f"the low resolution of {frame.where} has {low.shape[1]}x{low.shape[0]} pixels, "
                f"1/{scale} of {width}x{height} was expected; fetch it again"
            )
        low_png = encode_png(low)
    return encode_png(image) if want_gt else None, low_png
