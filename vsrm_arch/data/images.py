"""Reading single frames, and the natural order of file names."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vsrm_arch.data.errors import DataError

__all__ = [
    "IMAGE_SUFFIXES",
    "decode",
    "encode_png",
    "has_alpha",
    "image_size",
    "is_image",
    "natural_key",
    "png_size",
    "read_image",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def is_image(path: Path) -> bool:
    """Whether a name is that of a frame: a known suffix, and no hidden file (``._x.png`` from an unpacked archive)."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``frame10`` follows ``frame9``, whatever the number of leading zeros."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts if part)


def decode(data: bytes, where: str, any_depth: bool = False) -> NDArray[Any]:
    """Decodes an image file's bytes.

    Args:
        data: The file's content.
        where: The file's name for the message.
        any_depth: Whether to keep 16 bits, which are reduced to 8 otherwise.

    Returns:
        ``(H, W, 3)``, BGR, uint8 or uint16; grey pictures get three channels, alpha is dropped.

    Raises:
        DataError: If it is no readable image.
    """
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if any_depth else 0)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise DataError(f"{where} is no readable image (truncated or damaged?); fetch or make this file again")
    return image if image.dtype == np.uint16 else image.astype(np.uint8, copy=False)


def read_image(path: Path, any_depth: bool = False) -> NDArray[Any]:
    """Reads an image file as :func:`decode` does; names outside ASCII work on every system."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return decode(data, str(path), any_depth)


def encode_png(image: NDArray[Any]) -> bytes:
    """Encodes ``(H, W, 3)``, BGR, uint8 or uint16, as BasicSR stores frames: PNG, compression level 1."""
    return bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def png_size(data: bytes | memoryview) -> tuple[int, int]:
    """Height and width of a PNG, from its header alone."""
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    return height, width


def has_alpha(path: Path) -> bool:
    """Whether an image file is a PNG with an alpha channel, by its header alone."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[12:16] == b"IHDR" and len(head) == 26 and head[25] in (4, 6)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file; of a PNG from its first bytes, of others by decoding them."""
    if path.suffix.lower() == ".png":
        with path.open("rb") as file:
            head = file.read(24)
        if head[12:16] == b"IHDR":
            return png_size(head)
    height, width = read_image(path).shape[:2]
    return height, width
