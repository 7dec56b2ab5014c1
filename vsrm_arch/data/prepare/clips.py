"""Any folders of frames, and video files, as training, validation or test data."""

import logging
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path

from vsrm_arch.data.images import image_size
from vsrm_arch.data.prepare.encode import Clip, ImageClip, default_workers, recipe, write_pair
from vsrm_arch.data.prepare.targets import FolderTarget, LmdbTarget, Target, listing, write_meta_info
from vsrm_arch.data.prepare.video import VideoClip
from vsrm_arch.data.sources import find_clips
from vsrm_arch.errors import UserError
from vsrm_arch.video import SUFFIXES, VideoFile
from vsrm_arch.wording import counted, some

__all__ = ["collect_clips", "prepare_clips"]

_logger = logging.getLogger("basicsr.vsrm_arch")


def collect_clips(inputs: Sequence[Path]) -> list[Clip]:
    """Finds the clips in folders and files.

    Args:
        inputs: Folders of clip folders (at any depth), clip folders, video files, or folders of video files.

    Returns:
        The clips, each named by its path below the input, without what BasicSR's lists cannot hold.

    Raises:
        UserError: If there is none, or two have one name.
    """
    found: dict[str, tuple[Path, Clip]] = {}
    for path in inputs:
        before = len(found)
        for origin, clip in _clips_in(path):
            if clip.name in found:
                raise UserError(
                    f"{origin} and {found[clip.name][0]} would both be clip {clip.name}; rename one of them"
                )
            found[clip.name] = origin, clip
        if len(found) == before:
            raise UserError(f"{path} holds neither frames (png, jpg, bmp, tif) nor videos; name a folder of clips")
    return [found[name][1] for name in sorted(found)]


def _clips_in(path: Path) -> Iterator[tuple[Path, Clip]]:
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{path} is no video file ({', '.join(SUFFIXES)}); name its folder if it is a frame")
        yield path, VideoClip(_named(path.stem), VideoFile.look_at(path))
        return
    if not path.is_dir():
        raise UserError(f"{path} does not exist")
    for name, files in find_clips(path):
        folder = path / name
        clip = ImageClip(
            _named(path.resolve().name if name == "." else name),
            folder,
            files,
            image_size(folder / files[0]),
            numbered=True,
        )
        _warn_of_gaps(clip)
        yield folder, clip
    for video in sorted(path.rglob("*")):
        if video.suffix.lower() in SUFFIXES and not video.name.startswith("."):
            yield video, VideoClip(_named(video.relative_to(path).with_suffix("").as_posix()), VideoFile.look_at(video))


def _safe(name: str) -> str:
    """BasicSR splits its lists at blanks and encodes keys as ASCII."""
    return re.sub(r"[^A-Za-z0-9._/-]", "_", name)


def _named(name: str) -> str:
    safe = _safe(name)
    if safe != name:
        _logger.info("clip '%s' is named %s, which BasicSR's lists can hold", name, safe)
    return safe


def _warn_of_gaps(clip: ImageClip) -> None:
    """Warns of frame numbers that are left out, where the files' names differ in a number alone."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", Path(file).stem) for file in clip.files]
    if len({part and (part[1], part[3]) for part in parts}) > 1:
        return
    numbers = [int(part[2]) for part in parts if part]
    steps = [after - before for before, after in pairwise(numbers)]
    step = min(steps, default=0)
    # Times or sparse samples count nothing: frames do where most are a step apart, be it of 1 or of 5.
    if step < 1 or 2 * steps.count(step) < len(steps):
        return
    gaps = [range(before + step, after, step) for before, after in pairwise(numbers)]
    missing = sum(len(gap) for gap in gaps)
    if missing:
        _logger.warning(
            "clip %s: %s lacks %s (%s); the frames around a gap become neighbours",
            clip.name,
            clip.folder,
            counted(missing, "frame number"),
            some(islice(chain.from_iterable(gaps), 4)),
        )


def prepare_clips(
    inputs: Sequence[Path],
    output: Path,
    val: Sequence[str] = (),
    test: bool = False,
    scale: int = 4,
    workers: int | None = None,
    force: bool = False,
) -> None:
    """Makes a data set of any clips.

    For training: ``train_GT.lmdb`` and ``train_BIx4.lmdb``, and on disk ``val/GT`` and ``val/BIx4``. For testing:
    ``GT`` and ``BIx4``, on disk.

    Args:
        inputs: Where the clips are, see :func:`collect_clips`.
        output: The data set's folder, usually ``datasets/NAME``.
        val: Names of the clips that are kept from training for validation, as given or as :func:`collect_clips` has
            them.
        test: Whether all clips make a test set.
        scale: Factor of the low resolution.
        workers: Number of threads; all processors by default.
        force: Replace what is finished.

    Raises:
        UserError: If a clip is missing, unreadable or too small, or something is in the way.
    """
    clips = collect_clips(inputs)
    names = [clip.name for clip in clips]
    # Whoever names a clip as its folder or file is named means the same clip.
    val = [name if name in names else _safe(name) for name in val]
    for name in val:
        if name not in names:
            raise UserError(f"--val names {name}, which is no clip; there are {some(names, shown=8)}")
    for clip in clips:
        if min(clip.size) < scale:
            raise UserError(f"clip {clip.name} has {clip.size[1]}x{clip.size[0]} pixels, too few for scale {scale}")
    if test:
        parts = {"test": clips}
    else:
        parts = {
            "train": [clip for clip in clips if clip.name not in val],
            "val": [clip for clip in clips if clip.name in val],
        }
    workers = workers or default_workers()
    for part, chosen in parts.items():
        if not chosen:
            continue
        gt, lq = _targets(output, part, chosen, scale, force)
        write_pair(chosen, gt, lq, scale, workers, f"{output.name} {part}")
        made = listing(gt.path)
        write_meta_info(output / f"meta_info_{output.name}_{part}_GT.txt", made)
        frames = sum(count for count, _ in made.values())
        _logger.info("%s: %s, %s", gt.path, counted(len(made), "clip"), counted(frames, "frame"))


def _targets(output: Path, part: str, clips: Sequence[Clip], scale: int, force: bool) -> tuple[Target, Target]:
    recipes = recipe(clips, scale, None), recipe(clips, scale, "bicubic")
    if part == "train":
        gt, lq = output / "train_GT.lmdb", output / f"train_BIx{scale}.lmdb"
        return LmdbTarget(gt, recipes[0], force), LmdbTarget(lq, recipes[1], force)
    folder = output if part == "test" else output / part
    return FolderTarget(folder / "GT", recipes[0], force), FolderTarget(folder / f"BIx{scale}", recipes[1], force)
