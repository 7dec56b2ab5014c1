"""How a video is encoded: the encoder, its quality, its pixel format."""

import io
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from vsrm_arch.errors import UserError, first_line
from vsrm_arch.video.colour import Colour
from vsrm_arch.video.pyav import pyav

__all__ = ["Encoding", "FrameFormat"]

# The quality option of encoders that have one, a value finer than their own default, and its largest.
_QUALITY = {
    "libx264": ("crf", 17, 51),
    "libx265": ("crf", 19, 51),
    "libsvtav1": ("crf", 22, 63),
    "libvpx-vp9": ("crf", 22, 63),
    "h264_nvenc": ("cq", 18, 51),
    "hevc_nvenc": ("cq", 20, 51),
    "av1_nvenc": ("cq", 24, 63),
}
# What else these encoders need to hold that quality.
_BESIDES = {"libvpx-vp9": {"b": "0", "row-mt": "1"}, "libx265": {"x265-params": "log-level=error"}}
# Four times the pixels in each direction hold what chroma a 4:4:4 source had also at half of the resolution.
_PIX_FMTS = {
    8: ("yuv420p", "nv12", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"),
    10: ("yuv420p10le", "p010le", "yuv422p10le", "yuv444p10le", "yuv420p", "nv12"),
}
_ANOTHER = "choose another --codec or another kind of output"


@dataclass(frozen=True)
class FrameFormat:
    """What the frames of a video are.

    Attributes:
        size: Height and width.
        rate: Average frames a second.
        time_base: Unit of the frames' times, in seconds.
        colour: What the samples stand for.
        pixel_aspect: Width of a pixel by its height.
    """

    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    colour: Colour
    pixel_aspect: Fraction = Fraction(1)


@dataclass(frozen=True)
class Encoding:
    """How a video is encoded.

    Attributes:
        codec: The encoder, by ffmpeg's name.
        pix_fmt: The pixel format, by ffmpeg's name.
        options: The encoder's options.
    """

    codec: str
    pix_fmt: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def choose(
        cls,
        path: Path,
        colour: Colour,
        codec: str | None = None,
        quality: int | None = None,
        pix_fmt: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> "Encoding":
        """Fills in what is not given.

        Args:
            path: The video to be; its suffix decides on the container.
            colour: Of the source: its depth is kept where the encoder can.
            codec: Encoder; None: VP9 for WebM, H.264 otherwise.
            quality: The encoder's constant-quality number, lower is better; None: one finer than its own default.
            pix_fmt: Pixel format; None: 4:2:0 in 8 or 10 bit.
            options: The encoder's other options.

        Raises:
            UserError: If there is no such encoder, pixel format, container or quality.
        """
        av = pyav(f"writing {path}")
        codec = codec or ("libvpx-vp9" if path.suffix.lower() == ".webm" else "libx264")
        try:
            encoder = av.Codec(codec, "w")
        except ValueError:
            encoder = None
        if encoder is None or encoder.type != "video":
            known = ", ".join(name for name in (*_QUALITY, "ffv1", "prores_ks") if name in av.codecs_available)
            raise UserError(f"--codec {codec}: this PyAV has no such video encoder; it has {known} and others")
        kinds = [form.name for form in encoder.video_formats or ()]
        if pix_fmt is None:
            wanted = _PIX_FMTS[8 if colour.depth <= 8 else 10]
            pix_fmt = next((kind for kind in wanted if kind in kinds), kinds[0] if kinds else wanted[0])
        elif pix_fmt not in kinds:
            raise UserError(f"--pix-fmt {pix_fmt}: {codec} does not take it; it takes {', '.join(kinds)}")
        chosen = dict(_BESIDES.get(codec, {}))
        if codec in _QUALITY:
            key, default, most = _QUALITY[codec]
            if quality is not None and not 0 <= quality <= most:
                raise UserError(
                    f"--quality {quality}: {codec} takes 0 (best) to {most}, and {default} where none is given"
                )
            chosen[key] = str(default if quality is None else quality)
        elif quality is not None:
            raise UserError(f"--quality {quality}: {codec} has no such scale; give its own options by --encoder-option")
        return cls(codec, pix_fmt, chosen | dict(options or {}))

    @property
    def depth(self) -> int:
        """Bits a sample."""
        from av import VideoFormat

        return max(int(component.bits) for component in VideoFormat(self.pix_fmt).components)

    def memory(self, size: tuple[int, int]) -> int:
        """Bytes that encoding frames of a height and width takes, about.

        Of x264, which looks 40 frames ahead, 222 bytes a pixel were measured with 2 cores and 326 with 16 threads.
        """
        each = 206 + 8 * (os.cpu_count() or 1)
        return size[0] * size[1] * each * (1 if self.depth <= 8 else 2)

    def check(self, formats: Collection[str], frames: FrameFormat) -> None:
        """Writes the header of a video into memory.

        Args:
            formats: Containers, by ffmpeg's names, each of which has to hold it.
            frames: Of the video.

        Raises:
            UserError: If the encoder does not take such frames, or a container not such a stream.
        """
        av = pyav("writing a video")
        for name in dict.fromkeys(formats):
            try:
                with av.open(io.BytesIO(), "w", format=name) as trial:
                    self.open(trial, frames)
                    trial.start_encoding()
            except (av.error.FFmpegError, ValueError) as error:
                fault = getattr(error, "strerror", None) or first_line(error)
                raise UserError(f"{self.codec} cannot be written as {name} ({fault}); {_ANOTHER}") from None

    def open(self, container: Any, frames: FrameFormat) -> Any:
        """Adds a stream for this encoder to a container.

        Args:
            container: PyAV's output container.
            frames: Of the video.

        Returns:
            PyAV's stream, its encoder open.

        Raises:
            UserError: If the container cannot hold the encoder's stream, or the encoder takes no such frames.
        """
        av = pyav("writing a video")
        (height, width), colour = frames.size, frames.colour
        rate = frames.rate.limit_denominator(100_000)
        try:
            stream = container.add_stream(self.codec, rate=rate, options=dict(self.options))
            context = stream.codec_context
            context.height, context.width = height, width
            context.pix_fmt = self.pix_fmt
            context.time_base = stream.time_base = frames.time_base
            context.sample_aspect_ratio = frames.pixel_aspect
            context.thread_type = "AUTO"
            is_rgb = av.VideoFormat(self.pix_fmt).is_rgb
            context.colorspace = 0 if is_rgb else colour.matrix
            context.color_range = 2 if is_rgb else colour.range
            context.color_primaries, context.color_trc = colour.primaries, colour.transfer
            context.open()
        except av.error.FFmpegError as error:
            raise UserError(
                f"{self.codec} takes no video of {width}x{height}, {self.pix_fmt}, with {_listed(self.options)} "
                f"({error.strerror}); choose another --codec, or frames (-o FOLDER --frames)"
            ) from None
        except ValueError as error:
            raise UserError(f"{first_line(error)}; {_ANOTHER}") from None
        unknown = sorted(context.options)  # what no one has taken
        if unknown:
            raise UserError(
                f"--encoder-option {unknown[0]}: {self.codec} has no such option; `ffmpeg -h encoder={self.codec}` "
                "lists those it has"
            )
        return stream


def _listed(options: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items()) or "no options"
