"""The command line, installed as ``basicsr`` and as ``vsrm``: a table of commands, a file each.

A command's module has ``add_arguments(parser)`` and ``run(args) -> int``. It imports what is slow to import in ``run``.
"""

import argparse
import errno
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

from vsrm_arch.config.messages import did_you_mean
from vsrm_arch.distributed import rank_and_size
from vsrm_arch.errors import UserError, first_line
from vsrm_arch.files import remedy
from vsrm_arch.memory import keep_freed_memory

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "train": "train a network as an option file says",
    "test": "run a trained network on test clips and measure it",
    "upscale": "enlarge videos: a video file in, a video file out",
    "evaluate": "test several networks and set their results side by side, as the paper's Table 2",
    "prepare": "make data: REDS, Vimeo-90K, Vid4, your own clips, the built-in sample",
    "complexity": "count parameters and multiply-adds, as the paper's Table 8",
    "compare": "draw a region of a frame by several networks, as the paper's Fig. 5, or a row over time",
    "erf": "draw effective receptive fields side by side, as the paper's Fig. 6",
    "curves": "draw training curves side by side, from TensorBoard's logs",
    "bench": "time networks side by side, or the implementations of the ops",
    "doctor": "say what is installed, what will be used, and what is wrong",
}
_EXAMPLES = """examples:
  {prog} train -opt options/sample/train_VSRM_sample.yml    train on a sample that is made on first use
  {prog} test -opt options/sample/test_VSRM_sample.yml      evaluate the result
  {prog} doctor                                             look at the installation
  {prog} train -h                                           several GPUs, several machines, resuming

Data are read from datasets/, results written to experiments/ and results/, below the current folder."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The command and its arguments; default: those of the process.

    Returns:
        The exit status: 0 done, 1 an error of the user's (one line on standard error), 2 wrong usage, 130 interrupted.
    """
    try:
        return _dispatch(_program(), list(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:  # argparse, after -h or wrong usage
        return stop.code if isinstance(stop.code, int) else 1
    except UserError as error:
        return _fail(first_line(error))
    except KeyboardInterrupt as stop:
        if rank_and_size()[0] == 0:
            _say_error(f"interrupted{': ' if stop.args else ''}{' '.join(map(str, stop.args))}")
        return 130
    except OSError as error:
        # What the user can mend has a name. A write to a full disk has none, where it is not one of ours.
        if error.filename:
            return _fail(f"{error.filename}: {error.strerror or error}; {remedy(error)}")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"no space left on the disk; {remedy(error)}")
        raise


def _dispatch(prog: str, argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        _top_parser(prog).print_help()
        return 0 if argv else 2
    if argv[0] == "--version":
        _top_parser(prog).parse_args(argv)
    command, *arguments = argv
    if command not in COMMANDS:
        raise UserError(f"{prog}: unknown command '{command}'; {did_you_mean(command, COMMANDS)}")
    module = importlib.import_module(f"vsrm_arch.cli.{command}")
    parser = argparse.ArgumentParser(
        prog=f"{prog} {command}",
        description=(module.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    keep_freed_memory()
    return int(module.run(parser.parse_args(arguments)))


def _top_parser(prog: str) -> argparse.ArgumentParser:
    commands = "\n".join(f"  {name:12}{text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [-h] [--version] command ...",
        description=f"Video super-resolution with VSRM on BasicSR.\n\ncommands:\n{commands}",
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    versions = ", ".join(f"{name} {_version(name)}" for name in ("vsrm-arch", "basicsr", "torch"))
    parser.add_argument("--version", action="version", version=versions)
    return parser


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _program() -> str:
    """How the user called us."""
    name = Path(sys.argv[0]).name
    return "python -m vsrm_arch" if name == "__main__.py" else name


def _fail(message: str) -> int:
    rank, size = rank_and_size()
    _say_error(f"error: [rank {rank}] {message}" if size > 1 else f"error: {message}")
    return 1


def _say_error(line: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
