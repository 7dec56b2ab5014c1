"""REDS: training and validation clips regrouped into one set of 270, as BasicSR has it, and the test set REDS4."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vsrm_arch.data.prepare.encode import ImageClip, check_official_size, default_workers, recipe, write_pair
from vsrm_arch.data.prepare.targets import FolderTarget, LmdbTarget, listing, write_meta_info
from vsrm_arch.errors import UserError

__all__ = ["REDS4", "find_reds", "prepare_reds"]

_logger = logging.getLogger("basicsr.vsrm_arch")

REDS4 = ("000", "011", "015", "020")
# BasicSR renames the official validation clips 000-029 to 240-269.
_FIRST_VAL = 240


def find_reds(
    source: Path,
    scale: int,
    train: int = 240,
    val: int = 30,
    frames: int = 100,
    size: tuple[int, int] = (720, 1280),
) -> list[ImageClip]:
    """Finds and checks the official clips.

    Args:
        source: Where the official archives were unpacked: ``train_sharp``, ``val_sharp`` and, if the low resolution is
            not to be made, ``train_sharp_bicubic/X4`` and ``val_sharp_bicubic/X4``; or below ``train/`` and ``val/``.
        scale: Factor of the low resolution.
        train: Number of training clips.
        val: Number of validation clips.
        frames: Number of frames of each.
        size: Their height and width.

    Returns:
        The clips under BasicSR's names; a ``train_sharp`` that holds 240-269 already is taken as it is.

    Raises:
        UserError: If a folder, a clip or a frame is missing, or a clip's first frame has another size.
    """
    train_names = [f"{i:03d}" for i in range(train)]
    val_names = [f"{_FIRST_VAL + i:03d}" for i in range(val)]
    train_folder = _find(source, "train")
    clips = _clips(train_folder, _low(source, "train", scale), train_names, train_names, frames, size)
    if all((train_folder / name).is_dir() for name in val_names):
        _logger.info("%s is regrouped already: validation clips taken from there", train_folder)
        return clips + _clips(train_folder, _low(source, "train", scale), val_names, val_names, frames, size)
    official = [f"{i:03d}" for i in range(val)]
    return clips + _clips(_find(source, "val"), _low(source, "val", scale), official, val_names, frames, size)


def prepare_reds(
    source: Path,
    output: Path,
    scale: int = 4,
    workers: int | None = None,
    force: bool = False,
    train: int = 240,
    val: int = 30,
    frames: int = 100,
    size: tuple[int, int] = (720, 1280),
) -> None:
    """Makes ``REDS/train_sharp_with_val.lmdb``, its low resolution, and ``REDS4/`` with ``GT`` and ``sharp_bicubic``.

    Args:
        source: Where the official archives were unpacked, see :func:`find_reds`.
        output: The folder of all data sets, usually ``datasets``.
        scale: Factor of the low resolution; other than 4 it stands in the names of what is written.
        workers: Number of threads; all processors by default.
        force: Replace what is finished.
        train: Number of training clips.
        val: Number of validation clips.
        frames: Number of frames of each.
        size: Their height and width.

    Raises:
        UserError: If something is missing, ill-sized or in the way.
    """
    clips = find_reds(source, scale, train, val, frames, size)
    # The ground truth does not depend on the low resolution that lies beside it.
    high = [replace(clip, low_folder=None) for clip in clips]
    low = "official" if all(clip.low_folder for clip in clips) else "bicubic"
    if low == "bicubic":
        _logger.info("no complete official X%d low resolution below %s: it is made (bicubic)", scale, source)
        clips = high
    tag = "" if scale == 4 else f"_X{scale}"
    workers = workers or default_workers()

    reds = output / "REDS"
    gt = LmdbTarget(reds / "train_sharp_with_val.lmdb", recipe(high, scale, None), force)
    lq = LmdbTarget(reds / f"train_sharp_bicubic{tag}_with_val.lmdb", recipe(clips, scale, low), force)
    test = [clip for clip in clips if clip.name in REDS4]
    test_high = [clip for clip in high if clip.name in REDS4]
    test_gt = FolderTarget(output / "REDS4/GT", recipe(test_high, scale, None), force)
    test_lq = FolderTarget(output / f"REDS4/sharp_bicubic{tag}", recipe(test, scale, low), force)

    write_pair(clips, gt, lq, scale, workers, "REDS")
    write_meta_info(reds / "meta_info_REDS_GT.txt", listing(gt.path))
    write_pair(test, test_gt, test_lq, scale, workers, "REDS4")
    write_meta_info(output / "REDS4/meta_info_REDS4_test_GT.txt", listing(test_gt.path))
    _logger.info("%d clips besides REDS4 for training, %d in REDS4", len(clips) - len(test), len(test))


def _find(source: Path, part: str) -> Path:
    candidates = [source / f"{part}_sharp", source / part / f"{part}_sharp"]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise UserError(
        f"{source} holds neither {part}_sharp/ nor {part}/{part}_sharp/; unpack the official {part}_sharp.zip there"
    )


def _low(source: Path, part: str, scale: int) -> Path | None:
    for folder in (source / f"{part}_sharp_bicubic/X{scale}", source / part / f"{part}_sharp_bicubic/X{scale}"):
        if folder.is_dir():
            return folder
    return None


def _clips(
    folder: Path,
    low: Path | None,
    found: Sequence[str],
    names: Sequence[str],
    frames: int,
    size: tuple[int, int],
) -> list[ImageClip]:
    files = tuple(f"{i:08d}.png" for i in range(frames))
    for root in (folder, low):
        if root is not None:
            _check_complete(root, found, files)
    for clip in found:
        check_official_size(folder / clip / files[0], size)
    return [
        ImageClip(name, folder / old, files, size, low_folder=low / old if low else None)
        for old, name in zip(found, names, strict=True)
    ]


def _check_complete(root: Path, clips: Sequence[str], files: Sequence[str]) -> None:
    missing = [clip for clip in clips if not (root / clip).is_dir()]
    if missing:
        raise UserError(
            f"{root} lacks {len(missing)} of {len(clips)} clips, the first is {missing[0]}; "
            "unpack the official archive again (for some of them use `basicsr prepare clips`)"
        )
    for clip in clips:
        there = {path.name for path in (root / clip).iterdir()}
        lacking = [file for file in files if file not in there]
        if lacking:
            raise UserError(
                f"{root / clip} lacks {len(lacking)} of {len(files)} frames, the first is {lacking[0]}; "
                "unpack the official archive again"
            )
