"""Make data in BasicSR's layout from official downloads, folders of frames or videos.

Frames go to LMDB with BasicSR's meta_info.txt for training, to folders for testing; the low resolution is made by the
bicubic reduction of MATLAB's imresize. Nothing is downloaded: datasets/README.md says where each set is to be had.

A command that was stopped, by Ctrl-C, a full disk or a kill, goes on where it was when it is given again. What is
complete is left alone, and never overwritten without --force.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from vsrm_arch.errors import UserError

__all__ = ["add_arguments", "run"]

_EPILOG = """examples:
  basicsr prepare sample
      the built-in sample, in a few seconds, to datasets/sample

  basicsr prepare reds ~/downloads/REDS
      REDS and REDS4 to datasets/REDS and datasets/REDS4

  basicsr prepare clips my_frames/ holiday.mp4 -o datasets/mine --val holiday
      a folder of clip folders and a video for training, the video kept for validation

  basicsr prepare DATA -h
      what a data set needs and makes"""

_REDS = """REDS as BasicSR trains on it: the 240 training clips and the 30 validation clips, renamed 240-269, in one
LMDB. 266 are for training; the other four (000, 011, 015, 020) are the test set REDS4, which is written beside it.

SOURCE is where the official archives train_sharp.zip, val_sharp.zip and, to have the official low resolution,
train_sharp_bicubic.zip and val_sharp_bicubic.zip were unpacked. Without the latter it is made."""
_REDS_WRITES = """writes (about 45 GB):
  datasets/REDS/train_sharp_with_val.lmdb             270 clips of 100 frames, 1280x720
  datasets/REDS/train_sharp_bicubic_with_val.lmdb     the same, 320x180
  datasets/REDS/meta_info_REDS_GT.txt                 list of the clips
  datasets/REDS4/GT, datasets/REDS4/sharp_bicubic     the four test clips"""
_VIMEO = """Vimeo-90K septuplets: the training list as LMDB, the low resolution of the test list on disk.

SOURCE is the folder unpacked from vimeo_septuplet.zip, with sequences/, sep_trainlist.txt and sep_testlist.txt."""
_VIMEO_WRITES = """writes (about 90 GB):
  datasets/vimeo90k/vimeo90k_train_GT.lmdb            64,612 septuplets, 448x256
  datasets/vimeo90k/vimeo90k_train_LR7frames.lmdb     the same, 112x64
  datasets/vimeo90k/vimeo_septuplet_matlabLRx4/       low resolution of the 7,824 test septuplets
  datasets/vimeo90k/vimeo_septuplet                   a link to SOURCE, if it lies elsewhere
  datasets/vimeo90k/meta_info_Vimeo90K_{train,test}_GT.txt"""
_VID4 = """Vid4: the ground truth and its bicubic reduction, on disk.

SOURCE holds the folders calendar, city, foliage and walk."""
_VID4_WRITES = """writes (about 100 MB):
  datasets/Vid4/GT, datasets/Vid4/BIx4, datasets/Vid4/meta_info_Vid4_GT.txt"""
_CLIPS = """Your own clips. An INPUT is a folder of frames (png, jpg, bmp, tif; any names, ordered as numbers), a folder
of such folders at any depth, a video file, or a folder of them. The frames of a clip must have one size; sides that
the scale does not divide are cropped. Videos need the extra "video"."""
_CLIPS_WRITES = """writes, for -o datasets/NAME:
  train_GT.lmdb, train_BIx4.lmdb, meta_info_NAME_train_GT.txt
  val/GT, val/BIx4, meta_info_NAME_val_GT.txt         with --val
  GT, BIx4, meta_info_NAME_test_GT.txt                with --test, instead"""
_SAMPLE = """The built-in sample: eight short training clips and one validation clip of 14 frames, 256x256, rendered
from photographs in the public domain that ship with scikit-image. Training from options/sample/ makes it by itself."""
_SAMPLE_WRITES = """writes (15 MB):
  datasets/sample/{train,val}_{GT,BIx4}.lmdb"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A sub-command for each data set."""
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(title="data", metavar="DATA", required=True)

    def add(
        name: str, help: str, description: str, writes: str, function: Callable[[argparse.Namespace], None], output: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=help,
            description=description,
            epilog=writes,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(function=function)
        command.add_argument(
            "-o", "--output", type=Path, default=Path(output), metavar="DIR", help=f"default: {output}"
        )
        command.add_argument("--workers", type=_positive, metavar="N", help="threads (default: all processors)")
        command.add_argument("--force", action="store_true", help="replace what is there, once the new is complete")
        if name != "sample":
            text = "factor of the low resolution (default: 4)"
            command.add_argument("--scale", type=int, choices=(2, 3, 4), default=4, help=text)
        return command

    command = add("reds", "REDS, 266 training clips, and REDS4", _REDS, _REDS_WRITES, _reds, "datasets")
    command.add_argument("source", type=Path, metavar="SOURCE", help="folder of the unpacked archives")
    command = add("vimeo90k", "Vimeo-90K septuplets", _VIMEO, _VIMEO_WRITES, _vimeo90k, "datasets")
    command.add_argument("source", type=Path, metavar="SOURCE", help="the unpacked vimeo_septuplet folder")
    command = add("vid4", "the test set Vid4", _VID4, _VID4_WRITES, _vid4, "datasets")
    command.add_argument("source", type=Path, metavar="SOURCE", help="folder of the four clips")
    text = "only these of the four clips"
    command.add_argument(
        "--clips", nargs="+", choices=("calendar", "city", "foliage", "walk"), metavar="CLIP", help=text
    )
    command = add("clips", "your own frames and videos", _CLIPS, _CLIPS_WRITES, _clips, "datasets/clips")
    command.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="folders of frames, videos")
    command.add_argument(
        "--val", nargs="+", default=[], metavar="CLIP", help="clips kept from training, for validation"
    )
    command.add_argument("--test", action="store_true", help="make a test set, on disk, of all clips")
    add("sample", "the built-in sample", _SAMPLE, _SAMPLE_WRITES, _sample, "datasets/sample")


def run(args: argparse.Namespace) -> int:
    """Makes a data set.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0

    Raises:
        UserError: If the source is incomplete or something is in the way.
        KeyboardInterrupt: With what is kept as its message.
    """
    logger = logging.getLogger("basicsr.vsrm_arch")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        args.function(args)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    sys.stdout.write(f"done: {args.output}\n")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _reds(args: argparse.Namespace) -> None:
    from vsrm_arch.data.prepare.reds import prepare_reds

    prepare_reds(args.source, args.output, args.scale, args.workers, args.force)


def _vimeo90k(args: argparse.Namespace) -> None:
    from vsrm_arch.data.prepare.vimeo90k import prepare_vimeo90k

    prepare_vimeo90k(args.source, args.output, args.scale, args.workers, args.force)


def _vid4(args: argparse.Namespace) -> None:
    from vsrm_arch.data.prepare.vid4 import prepare_vid4

    prepare_vid4(args.source, args.output, args.clips, args.scale, args.workers, args.force)


def _clips(args: argparse.Namespace) -> None:
    from vsrm_arch.data.prepare.clips import prepare_clips

    if args.test and args.val:
        raise UserError("--val and --test exclude each other: a test set holds no training clips")
    prepare_clips(args.inputs, args.output, args.val, args.test, args.scale, args.workers, args.force)


def _sample(args: argparse.Namespace) -> None:
    from vsrm_arch.data.prepare.sample import ensure_sample

    if args.output.is_dir() and not args.force:
        logging.getLogger("basicsr.vsrm_arch").info("%s is there already; --force makes it anew", args.output)
    ensure_sample(args.output, args.force, args.workers)
