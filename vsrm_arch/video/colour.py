"""Colours of video: from what a file says, or leaves out, to RGB and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsrm_arch.errors import UserError
from vsrm_arch.video.pyav import pyav

__all__ = ["Colour", "from_rgb", "to_rgb"]

# Numbers of ITU-T H.273, as video files hold them.
_RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 6
_LIMITED, _FULL = 1, 2
_HDR = {16: "PQ, HDR10 or Dolby Vision", 18: "HLG"}
# Matrix coefficients → swscale's names of them.
_MATRICES = {_BT709: 1, 4: 4, 5: 5, _BT601: 5, 7: 7, 9: 9}
# Players take unlabelled video for BT.709 from these sizes on, and for BT.601 below.
_HD_WIDTH, _SD_HEIGHT = 1280, 576


@dataclass(frozen=True)
class Colour:
    """How samples of a video stand for colours.

    Attributes:
        matrix: Matrix coefficients, by the numbers of ITU-T H.273: 1 is BT.709, 6 BT.601.
        range: 1: limited, black is 16 of 255; 2: full.
        primaries: Colour primaries, by the same numbers; 2: not known.
        transfer: Transfer characteristics, likewise.
        depth: Bits a sample.
    """

    matrix: int = _BT709
    range: int = _LIMITED
    primaries: int = _BT709
    transfer: int = _BT709
    depth: int = 8

    @classmethod
    def of(cls, frame: Any, what: str) -> "Colour":
        """The colours of a decoded frame.

        What the file leaves out is what players assume: the matrix by the frame's size, limited range. It has to be
        written into an enlarged video, for which they would assume another.

        Args:
            frame: The frame.
            what: Names the video, for messages.

        Raises:
            UserError: If it is high dynamic range, or its colours cannot be converted.
        """
        transfer, matrix, range_ = int(frame.color_trc), int(frame.colorspace), int(frame.color_range)
        if transfer in _HDR:
            raise UserError(
                f"{what} is high dynamic range ({_HDR[transfer]}), which the networks do not know; convert it to "
                "standard range first (ffmpeg's filters zscale and tonemap)"
            )
        depth = max(component.bits for component in frame.format.components)
        if frame.format.is_rgb or frame.format.name == "pal8":
            return cls(transfer=_BT709 if transfer == _UNSPECIFIED else transfer, depth=depth)
        if matrix in (_UNSPECIFIED, _RGB):
            matrix = _BT709 if frame.width >= _HD_WIDTH or frame.height > _SD_HEIGHT else _BT601
        if matrix not in _MATRICES:
            raise UserError(f"{what} has colours of a kind that cannot be converted (matrix {matrix} of H.273)")
        # Grey that does not say otherwise is full range, as swscale has it.
        full = range_ == _FULL or frame.format.name.startswith("yuvj") or (range_ != _LIMITED and _is_grey(frame))
        return cls(matrix, _FULL if full else _LIMITED, int(frame.color_primaries), transfer, depth)

    @property
    def text(self) -> str:
        """In words: ``BT.601, limited range, 8 bit``."""
        names = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}
        return f"{names[self.matrix]}, {'full' if self.range == _FULL else 'limited'} range, {self.depth} bit"


def to_rgb(frame: Any, colour: Colour) -> NDArray[Any]:
    """Converts a decoded frame.

    Args:
        frame: The frame.
        colour: What its samples stand for.

    Returns:
        ``(H, W, 3)``, RGB: uint8 in 0 to 255, or uint16 in 0 to 65535 where the video has more than 8 bits.
    """
    is_rgb = frame.format.is_rgb or frame.format.name == "pal8"
    converted = _reformatter().reformat(
        frame,
        format="rgb24" if colour.depth <= 8 else "rgb48le",
        src_colorspace=None if is_rgb else _MATRICES[colour.matrix],
        src_color_range=_FULL if is_rgb else colour.range,
        dst_color_range=_FULL,
        interpolation=_precise(),
    )
    image: NDArray[Any] = converted.to_ndarray()
    if _is_grey(frame) and colour.range == _LIMITED:
        # swscale takes grey for full range, whatever it says.
        most = np.iinfo(image.dtype).max
        unit = 2.0 ** (colour.depth - 8) / (2**colour.depth - 1) * most
        stretched = (image.astype(np.float32) - 16 * unit) / (219 * unit) * most
        image = stretched.round().clip(0, most).astype(image.dtype)
    return image


def _is_grey(frame: Any) -> bool:
    return bool(frame.format.name.startswith("gray"))


def from_rgb(image: NDArray[Any], colour: Colour, pix_fmt: str) -> Any:
    """Makes a frame for an encoder.

    Args:
        image: ``(H, W, 3)``, RGB, uint8 or uint16.
        colour: What its samples shall stand for.
        pix_fmt: Its pixel format, by ffmpeg's name.

    Returns:
        The frame, without a time.
    """
    av = pyav("writing a video")
    is_rgb = av.VideoFormat(pix_fmt).is_rgb
    wide = image.dtype == np.uint16
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb48le" if wide else "rgb24")
    converted = _reformatter().reformat(
        frame,
        format=pix_fmt,
        dst_colorspace=None if is_rgb else _MATRICES[colour.matrix],
        src_color_range=_FULL,
        dst_color_range=_FULL if is_rgb else colour.range,
        interpolation=_precise(),
    )
    converted.colorspace = _RGB if is_rgb else colour.matrix
    converted.color_range = _FULL if is_rgb else colour.range
    converted.color_primaries, converted.color_trc = colour.primaries, colour.transfer
    return converted


def _precise() -> int:
    """Chroma resampled bicubically at full width, products rounded rightly: swscale's defaults are coarser."""
    from av.video.reformatter import Interpolation as Scaling

    return int(Scaling.BICUBIC | Scaling.ACCURATE_RND | Scaling.FULL_CHR_H_INT | Scaling.FULL_CHR_H_INP)


def _reformatter() -> Any:
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()
