"""Films as folders of pictures: read, and written so that a run that is stopped can go on."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from vsrm_arch.data.images import encode_png, has_alpha, is_image, natural_key, read_image
from vsrm_arch.data.prepare.encode import file_identity
from vsrm_arch.errors import UserError
from vsrm_arch.files import atomic_write
from vsrm_arch.video import Colour, Record, faults_named

__all__ = ["PictureTarget", "Pictures", "is_written", "pictures_in"]

# A frame's number as its picture's name.
_NUMBERED = "{:08d}"


@dataclass(frozen=True)
class Pictures:
    """Pictures that are the frames of a film.

    Attributes:
        path: Their folder.
        files: Their paths, in order.
        size: Height and width.
        depth: Bits a sample.
        transparent: Whether the first has an alpha channel.
        rate: Frames a second, where a video is made of them.
    """

    path: Path
    files: tuple[Path, ...]
    size: tuple[int, int]
    depth: int
    transparent: bool
    rate: Fraction

    @classmethod
    def look_at(cls, files: list[Path], rate: Fraction) -> "Pictures":
        """Reads the first of some pictures.

        Raises:
            UserError: If it is no readable picture.
        """
        first = read_image(files[0], any_depth=True)
        height, width = first.shape[:2]
        return cls(files[0].parent, tuple(files), (height, width), 8 * first.itemsize, has_alpha(files[0]), rate)

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.files)

    @property
    def time_base(self) -> Fraction:
        """Unit of the frames' times, in seconds."""
        return 1 / self.rate

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return self.length / self.rate

    @property
    def end(self) -> Fraction:
        """When the last frame ends, in seconds."""
        return self.duration

    @property
    def colour(self) -> Colour:
        """What is assumed of pictures."""
        return Colour(depth=self.depth)

    # What video files have, and pictures do not.
    turns: ClassVar[int] = 0
    streams: ClassVar[dict[int, str]] = {}
    pixel_aspect: ClassVar[Fraction] = Fraction(1)
    interlaced: ClassVar[bool] = False
    has_chapters: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        """The files' names, bytes and times."""
        return " ".join(map(file_identity, self.files))

    def frames(self) -> Iterator[tuple[NDArray[Any], Fraction]]:
        """The frames in order, ``(H, W, 3)``, RGB, uint8 or uint16, and their times in seconds.

        Raises:
            UserError: If a picture cannot be read or is of another size.
        """
        for i, file in enumerate(self.files):
            image = read_image(file, any_depth=True)
            if image.shape[:2] != self.size or image.itemsize * 8 != self.depth:
                agreed = f"{self.size[1]}x{self.size[0]} in {self.depth} bit"
                raise UserError(
                    f"{file} is {_described(image)}, {self.files[0].name} {agreed}; the frames of a film must agree: "
                    "leave it out"
                )
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB), i / self.rate


def _described(image: NDArray[Any]) -> str:
    return f"{image.shape[1]}x{image.shape[0]} in {8 * image.itemsize} bit"


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, ``frame10`` behind ``frame9``."""
    return sorted(filter(is_image, folder.iterdir()), key=lambda path: natural_key(path.name))


def is_written(file: Path, names: Collection[str] = ()) -> bool:
    """Whether a picture has a name as :class:`PictureTarget` writes it, of ``names`` or numbered."""
    stem = file.stem
    return file.suffix == ".png" and (stem in names or (stem.isdecimal() and stem == _NUMBERED.format(int(stem))))


class PictureTarget:
    """Writes PNG files into ``<path>.partial``, which gets its name when it is complete.

    Args:
        path: The folder.
        recipe: What its frames are made from.
        names: The pictures' names without suffix, all different; None: numbers from 00000000 on.
        resume: Whether to go on after what an earlier run has left.

    Attributes:
        num_done: Frames that an earlier run has written.

    Raises:
        UserError: If what an earlier run has left was made from something else.
    """

    def __init__(
        self, path: Path, recipe: Mapping[str, Any], names: tuple[str, ...] | None = None, resume: bool = False
    ) -> None:
        self.path, self._names = path, names
        self._record = Record(path, recipe, resume)
        self.num_done = 0
        with faults_named(self.path):
            self._record.begin()
        while resume and self._file(self.num_done).is_file():
            self.num_done += 1

    def _file(self, index: int) -> Path:
        name = _NUMBERED.format(index) if self._names is None else (*self._names, "")[index]
        return self._record.folder / f"{name}.png"

    def write(self, image: NDArray[Any], time: Fraction) -> None:
        """Adds a frame, ``(H, W, 3)``, RGB, uint8 or uint16; pictures have no times.

        Raises:
            UserError: If it cannot be written; those before are kept.
        """
        with faults_named(self.path), atomic_write(self._file(self.num_done), sync=False) as file:
            file.write(encode_png(np.ascontiguousarray(image[..., ::-1])))
        self.num_done += 1

    def keep(self) -> None:
        """Nothing is held back: every picture that is written is kept. Without one nothing is left."""
        if not self.num_done:
            self._record.remove()

    def finish(self) -> Path:
        """Gives the folder its name; one that lay there before is replaced only now."""
        with faults_named(self.path):
            self._record.become(self.path)
        return self.path

    def interrupt(self) -> Path | None:
        """Where the frames are that are written so far; None if there is none."""
        self.keep()
        return self._record.folder if self.num_done else None
