"""What the commands that measure networks share: flags, their checks, the progress and what is written at the end."""

import argparse
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vsrm_arch.errors import UserError

if TYPE_CHECKING:
    import torch

    from vsrm_arch.bench import Ceilings, FilmRow, NetworkRow, OpRow
    from vsrm_arch.bench.plot import Bar

__all__ = ["add_common", "check", "check_files", "finish", "numbers", "progress", "use_device"]

_DTYPES = ("float32", "bf16", "fp16")


def add_common(parser: argparse.ArgumentParser, repeats: int, warmup: int) -> None:
    """Flags: what is timed how often, where, and the files that are written."""
    parser.add_argument(
        "--dtype",
        nargs="+",
        choices=_DTYPES,
        default=["float32"],
        metavar="DTYPE",
        help="float32, bf16, fp16 (default: float32); networks are autocast, as in validation",
    )
    parser.add_argument("--repeats", type=int, default=repeats, metavar="R", help=f"samples (default: {repeats})")
    text = f"runs before the first sample (default: {warmup})"
    parser.add_argument("--warmup", type=int, default=warmup, metavar="W", help=text)
    text = "auto: the GPU if there is one (default: auto)"
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=text)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all figures, samples and the environment")
    parser.add_argument("--json", type=Path, metavar="FILE", help="likewise")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as it is printed")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the times (.png, .svg, .pdf; the extra plot)")


def check(args: argparse.Namespace) -> None:
    """What a long measurement should not end with."""
    for name in ("repeats", "frames", "batch"):
        if getattr(args, name, 1) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: must be at least 1")
    if args.warmup < 0:
        raise UserError(f"--warmup {args.warmup}: must be at least 0")
    check_files(args, "csv", "json", "markdown")
    if args.plot is not None:
        from vsrm_arch.plotting import check_plot

        check_plot(args.plot)


def check_files(args: argparse.Namespace, *names: str) -> None:
    """Raises a UserError if a file that a flag of these names asks for cannot be written where it shall lie."""
    for name in names:
        path: Path | None = getattr(args, name)
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            fault = "is a folder" if path.is_dir() else f"there is no folder {path.parent}; make it first"
            raise UserError(f"--{name} {path}: {fault}")


def numbers(flag: str, text: str, count: int, example: str) -> tuple[int, ...]:
    """The positive numbers of a flag such as 180x320.

    Raises:
        UserError: If it is something else.
    """
    parts = text.lower().split("x")
    if len(parts) != count or not all(part.isdecimal() and int(part) for part in parts):
        raise UserError(f"{flag} {text}: expected {count} positive numbers with x between them, such as {example}")
    return tuple(map(int, parts))


def use_device(name: str) -> "torch.device":
    """The device of the flag --device.

    Raises:
        UserError: If there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("--device cuda: PyTorch sees no CUDA device; basicsr doctor says why, or give --device cpu")
    if name == "cpu" or not available:
        return torch.device("cpu")
    # As BasicSR's pipelines set it.
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda", torch.cuda.current_device())


def finish(
    args: argparse.Namespace,
    rows: "Sequence[NetworkRow] | Sequence[OpRow] | Sequence[FilmRow]",
    table: str,
    settings: str,
    device: "torch.device",
    ceilings: "Ceilings | None",
    bars: "Sequence[Bar]",
    label: str,
) -> int:
    """Prints and writes what was measured; returns the exit status.

    Where everything has failed the files stay as they are: they may hold what was measured before.
    """
    from vsrm_arch.bench import environment
    from vsrm_arch.bench.plot import plot
    from vsrm_arch.bench.report import markdown, write_csv, write_json
    from vsrm_arch.files import write_text

    program = Path(sys.argv[0]).name.replace("__main__.py", "python -m vsrm_arch")
    about = environment(device, f"{program} {shlex.join(sys.argv[1:])}")
    text = markdown(table, settings, about, ceilings)
    sys.stdout.write(text)
    failed = [row.status.startswith("failed") for row in rows]
    if all(failed):
        return 1
    if args.markdown is not None:
        write_text(args.markdown, text)
    if args.csv is not None:
        write_csv(args.csv, rows, about, ceilings)
    if args.json is not None:
        write_json(args.json, rows, about, ceilings)
    if args.plot is not None and bars:
        plot(args.plot, bars, label, f"{about['device']}, torch {about['torch']}")
    return int(any(failed))


@contextmanager
def progress(backends: bool = True) -> Iterator[None]:
    """Shows the log on standard error, apart from the table on standard output.

    Args:
        backends: Whether to tell which implementation of each op runs.
    """
    logger = logging.getLogger("basicsr.vsrm_arch")
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: backends or record.module != "backends")
    handler.setFormatter(logging.Formatter("%(message)s"))
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # BasicSR's logger would say everything again.
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
