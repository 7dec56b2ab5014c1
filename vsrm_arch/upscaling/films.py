"""What the user names as input and output, made into films."""

import glob
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from vsrm_arch.data.images import is_image, natural_key
from vsrm_arch.data.prepare.encode import file_identity
from vsrm_arch.errors import UserError
from vsrm_arch.upscaling.pictures import Pictures, pictures_in
from vsrm_arch.video import CONTAINERS, SUFFIXES, VideoFile, partial_video
from vsrm_arch.wording import some

__all__ = ["Film", "find_films"]

_logger = logging.getLogger("basicsr.vsrm_arch")

# What a folder's name rarely ends in, and a video's or a picture's does.
_FILE_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}")


@dataclass(frozen=True)
class Film:
    """A film and where it goes.

    Attributes:
        source: A video file, or pictures.
        output: The video file to be, or a folder of pictures.
    """

    source: VideoFile | Pictures
    output: Path

    @property
    def to_pictures(self) -> bool:
        """Whether the output is a folder of pictures."""
        return self.output.suffix.lower() not in CONTAINERS

    @property
    def is_video(self) -> bool:
        """Whether the source is a video file."""
        return isinstance(self.source, VideoFile)

    @property
    def picture_names(self) -> tuple[str, ...] | None:
        """Names of the pictures, without suffix, where they are those of the source; None: they are numbered.

        a.png and a.jpg are two frames of one name: such frames are numbered.
        """
        if not isinstance(self.source, Pictures):
            return None
        names = tuple(file.stem for file in self.source.files)
        return names if len(set(names)) == len(names) else None

    @property
    def identity(self) -> str:
        """What tells the source from another of its name, without reading it."""
        return self.source.identity if isinstance(self.source, Pictures) else file_identity(self.source.path)


class Naming(Protocol):
    """How outputs are named: from a source's path, and whether it is of pictures, to the output."""

    def __call__(self, path: Path, pictures: bool) -> Path:
        """The output of a source."""


def find_films(
    inputs: Sequence[str], output: Path | None, scale: int, rate: Fraction | None = None, to_pictures: bool = False
) -> list[Film]:
    """Looks at inputs.

    Args:
        inputs: Video files, folders of pictures, globs; pictures of one folder are one film.
        output: A video file or a folder; None: beside the inputs, ``<name>_x4``.
        scale: Enlargement, for that name.
        rate: Frames a second of pictures that become a video; None: 25.
        to_pictures: Whether videos become folders of pictures as well.

    Returns:
        The films, in the order of the inputs.

    Raises:
        UserError: If an input is none, or two outputs would be the same.
    """
    if output is not None and not output.name:  # the current folder
        output = output.resolve()
    sources: list[Path | list[Path]] = []
    pictures: dict[Path, list[Path]] = {}
    for path in [path for text in inputs for path in _expanded(text)]:
        if path.is_dir():
            found = pictures_in(path)
            videos = sorted(file.name for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if videos:
                raise UserError(
                    f"{path} holds videos ({some(videos)}): name them, as {path / '*'}{Path(videos[0]).suffix}"
                )
            if not found:
                raise UserError(f"{path} holds no pictures (.png, .jpg, …); name a folder of frames, or videos")
            sources.append(found)
        elif is_image(path):
            if path.parent not in pictures:
                sources.append(pictures.setdefault(path.parent, []))
            pictures[path.parent].append(path)
        else:
            sources.append(path)
    naming = _naming(output, scale, len(sources), to_pictures)
    films = [_film(source, naming, rate or Fraction(25)) for source in _without_outputs(sources, naming)]
    for i, film in enumerate(films):
        if film.output in [other.output for other in films[:i]]:
            raise UserError(f"two inputs would become {film.output}; enlarge them one by one with -o")
        if film.output.resolve() == film.source.path.resolve():
            raise UserError(f"{film.output} is input and output at once; name another with -o")
    return films


def _expanded(text: str) -> list[Path]:
    path = Path(text)
    if path.exists():
        return [path]
    if glob.has_magic(text):
        found = sorted(glob.glob(text), key=natural_key)  # noqa: PTH207  (Path.glob takes no absolute patterns)
        if found:
            return [Path(name) for name in found]
        raise UserError(f"{text}: no file has such a name; check the path")
    raise UserError(f"{text}: no such file or folder; check the path")


def _without_outputs(sources: Sequence[Path | list[Path]], naming: Naming) -> list[Path | list[Path]]:
    """Leaves out what earlier runs have made of the others: ``*.mp4`` names them as well."""
    films = [naming(source, pictures=False) for source in sources if isinstance(source, Path)]
    made = {path.absolute() for film in films for path in (film, partial_video(film))}
    kept = []
    for source in sources:
        if isinstance(source, Path) and source.absolute() in made and len(sources) > 1:
            _logger.info("%s is left out: it is made from another input.", source)
        else:
            kept.append(source)
    return kept


def _film(source: Path | list[Path], naming: Naming, rate: Fraction) -> Film:
    if isinstance(source, Path):
        return Film(VideoFile.look_at(source), naming(source, pictures=False))
    ordered = sorted(source, key=lambda path: natural_key(path.name))
    return Film(Pictures.look_at(ordered, rate), naming(ordered[0].parent, pictures=True))


def _naming(output: Path | None, scale: int, count: int, to_pictures: bool) -> Naming:
    """Checks the output against what goes into it."""
    is_video = output is not None and output.suffix.lower() in CONTAINERS and not output.is_dir()
    if output is not None and output.is_file() and not is_video:
        raise UserError(f"-o {output}: is a file, but no video; name a folder or a video")
    if (
        output is not None
        and not (is_video or output.is_dir() or to_pictures)
        and _FILE_SUFFIX.fullmatch(output.suffix)
    ):
        folder = "" if output.suffix.lower() in SUFFIXES else ", or make the folder first"
        raise UserError(f"-o {output}: videos are written as {', '.join(CONTAINERS)}; name one of these{folder}")
    if is_video and count > 1:
        raise UserError(f"-o {output}: {count} films cannot become one; name a folder")
    if is_video and to_pictures:
        raise UserError(f"-o {output}: --frames makes pictures; name a folder")

    def naming(path: Path, pictures: bool) -> Path:
        if is_video:
            assert output is not None
            return output
        if pictures or to_pictures:
            # Pictures of one film go into the folder itself.
            if output is not None and count == 1:
                return output
            if path.name in ("", ".."):
                path = path.resolve()
            name = path.name if pictures else path.stem
            return (path.parent if output is None else output) / f"{name}_x{scale}"
        suffix = path.suffix if path.suffix.lower() in CONTAINERS else ".mkv"
        return (path.parent if output is None else output) / f"{path.stem}_x{scale}{suffix}"

    return naming
