"""Draw training curves side by side: what trainings have logged to TensorBoard.

A panel for each tag, in it a line for each training. RUN is the name of a training, whose events BasicSR writes to
tb_logger/<name>; or its option file (*.yml), which holds the name; or any folder of event files.
"""

import argparse
from pathlib import Path

from vsrm_arch.cli.measuring import check_files
from vsrm_arch.errors import UserError

__all__ = ["add_arguments", "run"]

# Where BasicSR's training pipeline logs, below the current folder.
_EVENTS = "tb_logger"
_EPILOG = """Without --tag: each loss (losses/*; a training minimises their sum) and each metric's mean over the clips
of a set (metrics/SET/METRIC) that any of the trainings has logged. There are also grad_norm and, for sets of up to 20
clips, metrics/SET/METRIC/CLIP.

Metrics are points. All else is smoothed, over a faint line of the values as they were logged. Of a training that was
resumed, the newest value of an iteration counts.

examples:
  basicsr curves VSRM_sample
      one training: losses, PSNR and SSIM

  basicsr curves options/train_VSRM_REDS.yml options/train_IART_REDS.yml --tag 'metrics/*/psnr' grad_norm -o reds.svg
      two trainings by their option files; chosen tags

  basicsr curves tb_logger/* --smooth 0.98 --csv curves.csv
      all trainings, smoother; also as numbers"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The trainings, the tags, and the files that are written."""
    parser.epilog = _EPILOG
    parser.add_argument("runs", nargs="+", metavar="RUN", help="name of a training, option file, or folder of events")
    text = "tags to draw, or patterns such as 'metrics/*' (default: losses, and means of metrics)"
    parser.add_argument("--tag", nargs="+", metavar="TAG", help=text)
    text = "weight of the past in the exponential mean, from 0 (not smoothed) to less than 1 (default: 0.9)"
    parser.add_argument("--smooth", type=float, default=0.9, metavar="S", help=text)
    text = "the picture (.png, .svg, .pdf; default: curves.png)"
    parser.add_argument("-o", "--output", type=Path, default=Path("curves.png"), metavar="FILE", help=text)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a line for each value that is drawn")


def run(args: argparse.Namespace) -> int:
    """Draws the picture.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0.

    Raises:
        UserError: If an argument or an option file is at fault, or a training has no events.
    """
    import sys

    from vsrm_arch.figures.curves import choose_tags, default_tags, draw, read_curves, write_curves
    from vsrm_arch.plotting import check_plot

    if not 0 <= args.smooth < 1:
        raise UserError(f"--smooth {args.smooth:g}: must be at least 0 and less than 1")
    check_plot(args.output, "-o")
    check_files(args, "csv")
    curves = []
    for name, folder in _folders(args.runs).items():
        found = read_curves(name, folder) if folder.is_dir() else []
        if not found:
            raise UserError(f"{folder}: no TensorBoard events; {_remedy(folder)}")
        curves += found
    known = list(dict.fromkeys(curve.tag for curve in curves))
    tags = default_tags(known) if args.tag is None else choose_tags(known, args.tag)
    if not tags:
        raise UserError(f"neither losses nor metrics have been logged; choose with --tag of {', '.join(known)}")
    drawn = [curve for tag in tags for curve in curves if curve.tag == tag]
    for name in dict.fromkeys(curve.run for curve in curves):
        if all(curve.run != name for curve in drawn):
            sys.stderr.write(f"{name}: has logged none of these tags, so it is missing\n")
    draw(args.output, curves, tags, args.smooth)
    if args.csv is not None:
        write_curves(args.csv, drawn)
    sys.stdout.write(f"{args.output}\n")
    return 0


def _folders(runs: list[str]) -> dict[str, Path]:
    """What to call each training → the folder of its events."""
    folders = list(dict.fromkeys(map(_folder, runs)))
    names = [folder.resolve().name for folder in folders]
    return {
        name if names.count(name) == 1 else str(folder): folder for name, folder in zip(names, folders, strict=True)
    }


def _folder(run: str) -> Path:
    from vsrm_arch.config import OptionError, load_yaml

    if run.endswith((".yml", ".yaml")):
        name = load_yaml(run).get("name")
        if name is None:
            raise OptionError(f"{run}: missing key 'name'")
        return Path(_EVENTS, str(name))
    named = Path(_EVENTS, run)
    return Path(run) if Path(run).is_dir() and not named.is_dir() else named


def _remedy(folder: Path) -> str:
    """What to do where a training has no events."""
    from vsrm_arch.config.messages import did_you_mean

    written = "a training writes them with logger: use_tb_logger: true, unless its name contains debug"
    others = [] if folder.is_dir() else [other.name for other in folder.parent.glob("*") if other.is_dir()]
    return f"{written}; {did_you_mean(folder.name, others)}" if others else written
