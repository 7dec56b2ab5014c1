"""From a film to the enlarged film: reading, network and writing, with what is said of them."""

import logging
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vsrm_arch.archs import Bicubic
from vsrm_arch.data.images import encode_png
from vsrm_arch.errors import UserError, first_line
from vsrm_arch.files import atomic_write
from vsrm_arch.inference.fitting import Pieces
from vsrm_arch.inference.streaming import Upscaler
from vsrm_arch.upscaling.films import Film
from vsrm_arch.upscaling.pictures import PictureTarget, is_written
from vsrm_arch.upscaling.threads import ahead, behind
from vsrm_arch.video import Encoding, FrameFormat, VideoFile, VideoTarget, check_encoding, copied_streams, made_from
from vsrm_arch.wording import counted, some

__all__ = ["Run", "Settings"]

_logger = logging.getLogger("basicsr.vsrm_arch")

# Frames about the one that --preview shows.
_PREVIEW_CONTEXT = 7
_LINE = 2

Image = NDArray[Any]


@dataclass(frozen=True)
class Settings:
    """How films are written.

    Attributes:
        weights: What made the frames, in the record of a film.
        codec: Encoder; None: by the container.
        quality: Its constant-quality number; None: one finer than its own default.
        pix_fmt: Pixel format; None: by the source's depth.
        encoder_options: The encoder's other options.
        drop: Kinds of streams that are not copied.
        split: Whether the left half shows bicubic enlargement.
        resume: Whether to go on after what earlier runs have left.
        force: Whether to replace what is there.
    """

    weights: str
    codec: str | None = None
    quality: int | None = None
    pix_fmt: str | None = None
    encoder_options: dict[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    split: bool = False
    resume: bool = False
    force: bool = False


class Run:
    """A film on its way.

    All that can be checked is checked here, before any work is done.

    Args:
        film: The film.
        upscaler: The network.
        settings: How it is written.

    Raises:
        UserError: If the output is there already, cannot hold the film, or an earlier run's rest is in the way.
    """

    def __init__(self, film: Film, upscaler: Upscaler, settings: Settings) -> None:
        self.film, self.settings, self._upscaler = film, settings, upscaler
        source, scale = film.source, upscaler.scale
        self.size = (source.size[0] * scale, source.size[1] * scale)
        self._check_output()
        self.encoding: Encoding | None = None
        self._copied: tuple[int, ...] = ()
        if not film.to_pictures:
            given = (settings.codec, settings.quality, settings.pix_fmt, settings.encoder_options)
            self.encoding = Encoding.choose(film.output, source.colour, *given)
            check_encoding(film.output, self.encoding, self._frame_format)
            if self.encoding.depth < source.colour.depth:
                _logger.warning(
                    "%s: %s writes %d of its %d bits.",
                    source.path,
                    self.encoding.codec,
                    self.encoding.depth,
                    source.colour.depth,
                )
            if isinstance(source, VideoFile):
                self._copied = tuple(copied_streams(source.path, film.output, settings.drop))
        self._earlier = made_from(film.output)
        if self._earlier is not None and not settings.resume and not settings.force:
            raise UserError(
                f"{film.output}: an earlier run has left a part of it; --resume goes on after it, --force starts anew"
            )
        if source.interlaced:
            _logger.warning(
                "%s is interlaced, and its combs are enlarged, too: deinterlace it first (ffmpeg's filter bwdif).",
                source.path,
            )
        if source.transparent:
            _logger.warning("%s has transparent parts, which are enlarged as if they were opaque.", source.path)
        self._bicubic = Bicubic(scale)

    @property
    def _frame_format(self) -> FrameFormat:
        source = self.film.source
        return FrameFormat(self.size, source.rate or Fraction(25), source.time_base, source.colour, source.pixel_aspect)

    @property
    def _encoder_memory(self) -> int:
        return 0 if self.encoding is None else self.encoding.memory(self.size)

    def _check_output(self) -> None:
        output = self.film.output
        if output.exists() and output.is_dir() != self.film.to_pictures:
            raise UserError(f"{output} is no {'folder' if self.film.to_pictures else 'file'}; name another with -o")
        held = sorted(output.iterdir()) if output.is_dir() else []
        foreign = next((file.name for file in held if not is_written(file, self.film.picture_names or ())), None)
        if foreign is not None:
            raise UserError(f"{output} holds something else than frames of this film ({foreign}); name another with -o")
        if output.exists() and (held or not output.is_dir()) and not self.settings.force:
            raise UserError(f"{output} is there already; name another with -o, or replace it with --force")
        parent = next(path for path in output.absolute().parents if path.exists())
        if not parent.is_dir():
            raise UserError(f"{output}: {parent} is no folder; name another with -o")

    def plan(self) -> tuple[Pieces, int, float]:
        """Windows and tiles, the bytes they are expected to take, and the seconds a frame."""
        return self._upscaler.plan(*self.film.source.size, self._encoder_memory)

    def pieces(self) -> Pieces:
        """Windows and tiles: those of an earlier run that is gone on with, those given, or what fits."""
        # The frames are the same as without a stop.
        kept = (self._earlier or {}).get("pieces") if self.settings.resume else None
        if kept and self._upscaler.window is None and self._upscaler.tile is None:
            return Pieces(*kept)
        return self._upscaler.pieces(*self.film.source.size, self._encoder_memory)

    def describe(self, pieces: Pieces, size: int, seconds: float) -> list[str]:
        """What would be done, in lines."""
        source = self.film.source
        rate = f"{float(source.rate):.5g} frames a second" if source.rate else "no rate"
        lines = [
            f"{source.path} -> {self.film.output}",
            f"  frames    {source.length}, {rate}, {_clock(source.duration)}",
            f"  size      {source.size[1]}x{source.size[0]} -> {self.size[1]}x{self.size[0]}"
            + (", turned upright" if source.turns else ""),
            f"  colours   {source.colour.text}",
        ]
        if self.encoding is not None:
            options = " ".join(f"{key}={value}" for key, value in self.encoding.options.items())
            lines.append(f"  written   {self.encoding.codec}, {self.encoding.pix_fmt}, {options}")
        else:
            lines.append("  written   PNG")
        if self.film.is_video and self.encoding is not None:
            chapters = "chapters, " if source.has_chapters else ""
            copied = [name for index, name in source.streams.items() if index in self._copied]
            lines.append(f"  copied    {some(copied, 8) or 'no other stream'}, {chapters}metadata")
        lines.append(f"  memory    about {size / 2**30:.2g} GiB on {self._upscaler.device}, {pieces}")
        lines.append(f"  time      about {_clock(seconds * source.length)} ({seconds:.2g} s a frame)")
        return lines

    def enlarge(self) -> Path:
        """Enlarges the film.

        Returns:
            The output.

        Raises:
            UserError: If something fails on the way; what is written is kept.
            KeyboardInterrupt: With what is kept as its message.
        """
        source = self.film.source
        pieces = self.pieces()
        target = self._target(pieces)
        done = target.num_done
        waiting: deque[tuple[Image, Fraction]] = deque()

        def images() -> Iterator[Image]:
            for i, (image, time) in enumerate(ahead(source.frames(), pieces.window)):
                if i >= done:
                    waiting.append((image, time))
                yield image

        name = self.film.output.name
        if done < source.length:
            _logger.info("%s: %s; frames come a window at a time.", source.path, pieces)
        with self._kept(target):
            with (
                # Each is shown, and the rate is that of all so far.
                tqdm(
                    total=source.length,
                    initial=done,
                    unit="frame",
                    desc=name,
                    file=sys.stderr,
                    mininterval=0,
                    smoothing=0,
                ) as progress,
                # A window is read, one enlarged and one written at the same time.
                behind(target.write, pieces.window) as write,
            ):
                for enlarged in self._upscaler(images(), pieces=pieces, skip=done):
                    image, time = waiting.popleft()
                    write(self._split(image, enlarged) if self.settings.split else enlarged, time)
                    progress.update()
            return target.finish()

    @contextmanager
    def _kept(self, target: VideoTarget | PictureTarget) -> Iterator[None]:
        """Keeps what is written when something stops the run, and says so."""
        try:
            try:
                yield
            except KeyboardInterrupt:
                raise KeyboardInterrupt(self._interrupted(target)) from None
            except BaseException:
                target.keep()
                raise
        except UserError as error:
            kept = f"; --resume goes on after {counted(target.num_done, 'frame')}"
            raise UserError(f"{first_line(error)}{kept if target.num_done else ''}") from error

    def _interrupted(self, target: VideoTarget | PictureTarget) -> str:
        partial = target.interrupt()
        if partial is None:
            return f"no frame of {self.film.output} was written yet"
        return (
            f"{target.num_done} of {counted(self.film.source.length, 'frame')} are in {partial}; "
            "--resume goes on after them"
        )

    def _target(self, pieces: Pieces) -> VideoTarget | PictureTarget:
        film, settings, source = self.film, self.settings, self.film.source
        film.output.parent.mkdir(parents=True, exist_ok=True)
        recipe = {
            "source": film.identity,
            "weights": settings.weights,
            "size": list(self.size),
            "split": settings.split,
            "precision": self._upscaler.precision,
            "pieces": [pieces.window, pieces.window_overlap, pieces.tile, pieces.tile_overlap],
        }
        if self.encoding is None:
            return PictureTarget(film.output, recipe, film.picture_names, settings.resume)
        recipe |= {"codec": self.encoding.codec, "pix_fmt": self.encoding.pix_fmt, "rate": str(source.rate)}
        recipe |= {"options": dict(self.encoding.options)}
        is_video = isinstance(source, VideoFile)
        return VideoTarget(
            film.output,
            recipe,
            self.encoding,
            self._frame_format,
            source.path if is_video else None,
            self._copied,
            source.end,
            settings.resume,
        )

    def preview(self, path: Path, time: Fraction | None = None) -> Path:
        """Writes one frame beside its bicubic enlargement.

        Args:
            path: The picture to write.
            time: The frame's time in seconds; None: the middle of the film.

        Returns:
            The picture.
        """
        source = self.film.source
        time = source.duration / 2 if time is None else time
        if time > source.duration:
            raise UserError(f"--preview {float(time):g}: {source.path} lasts {float(source.duration):.3g} s")
        clip: deque[Image] = deque(maxlen=2 * _PREVIEW_CONTEXT + 1)
        # The frame that is shown, counted back from the end of the clip.
        back: int | None = None
        for image, at in source.frames():
            clip.append(image)
            if back is None and at >= time:
                back = 0
            elif back is not None:
                back += 1
            if back == _PREVIEW_CONTEXT:
                break
        if not clip:
            raise UserError(f"{source.path} holds no frame; leave it out")
        index = len(clip) - 1 - (back or 0)
        enlarged = list(self._upscaler(clip, is_cut=lambda _: False))[index]
        bicubic = self._by_bicubic(clip[index])
        line = np.full((len(enlarged), 2 * _LINE, 3), np.iinfo(enlarged.dtype).max, enlarged.dtype)
        picture = np.concatenate([bicubic, line, enlarged], axis=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(encode_png(np.ascontiguousarray(picture[..., ::-1])))
        return path

    def _split(self, image: Image, enlarged: Image) -> Image:
        """The left half from bicubic enlargement, a white line, the right half from the network."""
        middle = enlarged.shape[1] // 2
        split = enlarged.copy()
        split[:, :middle] = self._by_bicubic(image)[:, :middle]
        split[:, max(middle - _LINE // 2, 0) : middle + _LINE // 2] = np.iinfo(split.dtype).max
        return split

    def _by_bicubic(self, image: Image) -> Image:
        enlarged: Image = next(iter(Upscaler(self._bicubic, self._upscaler.scale)([image], pieces=Pieces())))
        return enlarged


def _clock(seconds: Fraction | float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
