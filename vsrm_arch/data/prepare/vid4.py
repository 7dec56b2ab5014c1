"""Vid4: four clips of ground truth and their bicubic reduction, on disk as BasicSR's test sets lie."""

from collections.abc import Sequence
from pathlib import Path

from vsrm_arch.data.images import is_image, natural_key
from vsrm_arch.data.prepare.encode import ImageClip, check_official_size, default_workers, recipe, write_pair
from vsrm_arch.data.prepare.targets import FolderTarget, write_meta_info
from vsrm_arch.errors import UserError
from vsrm_arch.wording import counted

__all__ = ["VID4", "prepare_vid4"]

# Clip → number of frames, and their height and width.
VID4 = {
    "calendar": (41, (576, 720)),
    "city": (34, (576, 704)),
    "foliage": (49, (480, 720)),
    "walk": (47, (480, 720)),
}


def prepare_vid4(
    source: Path,
    output: Path,
    clips: Sequence[str] | None = None,
    scale: int = 4,
    workers: int | None = None,
    force: bool = False,
) -> None:
    """Makes ``Vid4/GT`` and ``Vid4/BIx4``.

    Args:
        source: The folder that holds ``calendar``, ``city``, ``foliage``, ``walk``, or their parent with ``GT``; it may
            be ``Vid4/GT`` itself, which is then left alone.
        output: The folder of all data sets, usually ``datasets``.
        clips: The clips to take; all four by default.
        scale: Factor of the low resolution.
        workers: Number of threads; all processors by default.
        force: Replace what is finished.

    Raises:
        UserError: If a clip or a frame is missing or ill-sized, or something is in the way.
    """
    folder = source / "GT" if (source / "GT").is_dir() else source
    found = [_clip(folder, name) for name in sorted(clips or VID4)]
    vid4 = output / "Vid4"
    lq = FolderTarget(vid4 / f"BIx{scale}", recipe(found, scale, "bicubic"), force)
    in_place = (vid4 / "GT").is_dir() and (vid4 / "GT").samefile(folder)
    gt = None if in_place else FolderTarget(vid4 / "GT", recipe(found, scale, None), force)
    write_pair(found, gt, lq, scale, workers or default_workers(), "Vid4")
    sizes = {clip.name: (clip.length, (clip.size[0] // scale * scale, clip.size[1] // scale * scale)) for clip in found}
    write_meta_info(vid4 / "meta_info_Vid4_GT.txt", sizes)


def _clip(root: Path, name: str) -> ImageClip:
    folder = root / name
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; fetch the clip, or name those that are there with --clips")
    files = sorted((path.name for path in folder.iterdir() if is_image(path)), key=natural_key)
    count, size = VID4[name]
    if len(files) != count:
        raise UserError(f"{folder} has {counted(len(files), 'frame')}, Vid4's {name} has {count}; fetch it again")
    check_official_size(folder / files[0], size)
    return ImageClip(name, folder, files, size, numbered=True)
