"""Vimeo-90K: the septuplets' training list as LMDB, the low resolution of the test list on disk."""

import logging
from pathlib import Path

from vsrm_arch.data.prepare.encode import ImageClip, check_official_size, default_workers, recipe, write_pair
from vsrm_arch.data.prepare.targets import FolderTarget, LmdbTarget, write_meta_info
from vsrm_arch.errors import UserError

__all__ = ["find_vimeo90k", "prepare_vimeo90k"]

_logger = logging.getLogger("basicsr.vsrm_arch")

_FILES = tuple(f"im{i}.png" for i in range(1, 8))
_OFFICIAL = {"sep_trainlist.txt": 64612, "sep_testlist.txt": 7824}


def find_vimeo90k(source: Path, list_name: str, size: tuple[int, int] = (256, 448)) -> list[ImageClip]:
    """Finds and checks the septuplets of a list.

    Args:
        source: The unpacked ``vimeo_septuplet`` folder.
        list_name: ``sep_trainlist.txt`` or ``sep_testlist.txt``.
        size: Height and width of all frames.

    Raises:
        UserError: If the list, a septuplet or a frame is missing, or the first frame has another size.
    """
    path = source / list_name
    if not path.is_file():
        raise UserError(f"{path} does not exist; name the unpacked vimeo_septuplet folder, it holds the two lists")
    names = path.read_text(encoding="utf-8").split()
    if len(names) != _OFFICIAL[list_name]:
        _logger.warning("%s names %d septuplets, the official list %d", path, len(names), _OFFICIAL[list_name])
    clips: list[ImageClip] = []
    for name in names:
        folder = source / "sequences" / name
        there = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
        lacking = [file for file in _FILES if file not in there]
        if lacking:
            raise UserError(f"{folder / lacking[0]} is missing, {list_name} names it; unpack vimeo_septuplet.zip again")
        if not clips:
            # The others are checked when they are read.
            check_official_size(folder / _FILES[0], size)
        clips.append(ImageClip(name, folder, _FILES, size))
    return clips


def prepare_vimeo90k(
    source: Path,
    output: Path,
    scale: int = 4,
    workers: int | None = None,
    force: bool = False,
    size: tuple[int, int] = (256, 448),
) -> None:
    """Makes ``vimeo90k/vimeo90k_train_GT.lmdb``, ``vimeo90k_train_LR7frames.lmdb`` and the test set's low resolution.

    The test set's ground truth stays where it is: BasicSR looks for it in ``vimeo90k/vimeo_septuplet/sequences``, which
    is made a link to ``source`` if it is not there.

    Args:
        source: The unpacked ``vimeo_septuplet`` folder.
        output: The folder of all data sets, usually ``datasets``.
        scale: Factor of the low resolution; other than 4 it stands in the names of what is written.
        workers: Number of threads; all processors by default.
        force: Replace what is finished.
        size: Height and width of all frames.

    Raises:
        UserError: If something is missing, ill-sized or in the way.
    """
    vimeo = output / "vimeo90k"
    workers = workers or default_workers()
    tag = "" if scale == 4 else f"_X{scale}"
    train, test = (find_vimeo90k(source, f"sep_{part}list.txt", size) for part in ("train", "test"))
    gt = LmdbTarget(vimeo / "vimeo90k_train_GT.lmdb", recipe(train, scale, None), force)
    lq = LmdbTarget(vimeo / f"vimeo90k_train_LR7frames{tag}.lmdb", recipe(train, scale, "bicubic"), force)
    low = vimeo / f"vimeo_septuplet_matlabLRx{scale}/sequences"
    test_lq = FolderTarget(low, recipe(test, scale, "bicubic"), force)

    write_pair(train, gt, lq, scale, workers, "Vimeo-90K train")
    write_meta_info(vimeo / "meta_info_Vimeo90K_train_GT.txt", {clip.name: (7, clip.size) for clip in train})
    write_pair(test, None, test_lq, scale, workers, "Vimeo-90K test")
    write_meta_info(vimeo / "meta_info_Vimeo90K_test_GT.txt", {clip.name: (7, clip.size) for clip in test})
    link = vimeo / "vimeo_septuplet"
    if not link.exists():
        try:
            link.symlink_to(source.resolve(), target_is_directory=True)
            _logger.info("%s is a link to %s, for the test set's ground truth", link, source)
        except OSError:
            _logger.warning("no link %s could be made; set the test set's dataroot_gt to %s/sequences", link, source)
