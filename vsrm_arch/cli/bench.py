"""Time networks of option files side by side, or the implementations of the ops.

All are built in one process, checked, warmed up and then timed in turns, those of one size together. The table shows
the median with its quartiles. Weights are random, and so are the clips: nothing but network_g and scale of an option
file is read, with --train also train: compile.
"""

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

    from vsrm_arch.bench import Ceilings, NetworkRow, OpRow
    from vsrm_arch.bench.plot import Bar

__all__ = ["add_arguments", "run"]

_DTYPES = ("float32", "bf16", "fp16")
_OPS = (
    "selective_scan",
    "cross_scan",
    "causal_conv1d",
    "gated_conv3d",
    "norm_linear",
    "gated_linear",
    "encoded_sample",
)

_EPILOG = """columns:
  ms a frame     of the pass without gradient: time / (batch x frames); with --train ms a step: forward, Charbonnier
                 loss, backward and Adam on the whole clip, with the checkpointing of network_g
  peak GiB       GPU memory with weights and inputs, after the first run; CSV and JSON have the first run's, too
  matrix share   2 x multiply-adds run / time, as a share of what a large matrix product reaches in this dtype in the
                 same process (--train: three times those of the forward pass)
  GMAC a frame   multiply-adds of a frame of an endless clip, as publications count them: flow network and upsampler
                 included, LayerNorm 5 an element, scans left out; 219 for the full VSRM at 64x64
  scan, Gop      beside it: 9 x tokens x channels x states for each direction

examples:
  basicsr bench -opt options/sample/test_VSRM_sample.yml
      a small network on a 64x64 clip, on the GPU if there is one

  basicsr bench -opt options/test_VSRM_REDS4.yml options/test_BasicVSRPP_REDS4.yml \\
      --size 64x64 180x320 --dtype float32 bf16 --csv speed.csv --plot speed.png
      two networks, two sizes, two dtypes

  basicsr bench -opt options/train_VSRM_REDS.yml options/train_BasicVSRPP_REDS.yml --train --dtype bf16
      the training step

  basicsr bench ops
      the implementations of the ops; basicsr bench ops -h says more"""
_OPS_TEXT = """Time the implementations of the ops side by side: forward, and forward with backward.

Inputs are random, tokens in the dtype, parameters in float32. Short calls run several times in a row for a sample."""
_OPS_EPILOG = """columns:
  speed-up          over the CUDA package where it was timed, else over the portable version; see --reference
  GB                least traffic: inputs read once, outputs written once; the backward pass reads the inputs and the
                    gradient, and writes a gradient of each input
  bandwidth share   that traffic / time, as a share of what a large copy reaches in the same process
  Gexp/s            exponentials of the definition / time, with the backward pass twice

mamba_ssm gets its tokens channels first in memory, as it wants them; the others channels last, as the network has them.

examples:
  basicsr bench ops --dtype float32 bf16 --json ops.json
  basicsr bench ops --op selective_scan --shape 1x12288x224x16
  basicsr bench ops --op cross_scan --shape 256x9x16x8 --backend portable naive

shapes:
  selective_scan    batch x tokens x channels x states
  cross_scan        points x tokens x channels x states
  causal_conv1d     batch x tokens x channels x taps
  gated_conv3d      frames x height x width x channels
  norm_linear       tokens x channels x columns
  gated_linear      tokens x channels x columns
  encoded_sample    height x width x points a pixel x channels"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the networks, and a sub-command for the ops."""
    parser.epilog = _EPILOG
    parser.usage = "%(prog)s [-h] -opt FILE [FILE ...] [options]\n       %(prog)s ops [-h] [options]"
    parser.add_argument("-opt", nargs="+", default=[], metavar="FILE", help="option files (YAML); network_g is timed")
    parser.add_argument(
        "--size",
        nargs="+",
        default=["64x64"],
        metavar="HxW",
        help="height x width of the input frames (default: 64x64)",
    )
    parser.add_argument("--frames", type=int, default=16, metavar="N", help="frames of a clip (default: 16)")
    parser.add_argument("--batch", type=int, default=1, metavar="B", help="clips (default: 1)")
    parser.add_argument("--train", action="store_true", help="time the training step, not the pass without gradient")
    _add_common(parser, repeats=10, warmup=2)
    parser.set_defaults(function=_networks)
    commands = parser.add_subparsers(prog=parser.prog, title="in place of networks", metavar="ops")
    ops = commands.add_parser(
        "ops",
        help="time the implementations of the ops",
        description=_OPS_TEXT,
        epilog=_OPS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ops.add_argument("--op", nargs="+", choices=_OPS, default=_OPS, metavar="OP", help=f"of {', '.join(_OPS)}")
    ops.add_argument("--shape", metavar="AxBxCxD", help="in place of the default shapes; with one --op")
    text = "implementations; default: all that can run here, but for naive, a loop"
    ops.add_argument("--backend", nargs="+", default=[], metavar="NAME", help=text)
    ops.add_argument("--reference", metavar="NAME", help="implementation that the speed-up is over")
    _add_common(ops, repeats=20, warmup=3)
    ops.set_defaults(function=_ops)


def _add_common(parser: argparse.ArgumentParser, repeats: int, warmup: int) -> None:
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


def run(args: argparse.Namespace) -> int:
    """Times, prints the table and writes the files.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0; 1 if something failed, running out of memory apart.

    Raises:
        UserError: If an argument or an option file is at fault.
    """
    _check(args)
    with _progress():
        return int(args.function(args))


def _networks(args: argparse.Namespace) -> int:
    from vsrm_arch.bench import bench_networks, measure_ceilings, read_networks
    from vsrm_arch.bench.plot import network_bars
    from vsrm_arch.bench.report import network_table

    if not args.opt:
        raise UserError("nothing to time: name option files with -opt, or the ops: basicsr bench ops")
    sizes = [_numbers("--size", size, count=2, example="180x320") for size in args.size]
    files = read_networks(args.opt)
    device = _device(args.device)
    ceilings = measure_ceilings(device, args.dtype)
    rows = bench_networks(
        files,
        [(height, width) for height, width in sizes],
        args.dtype,
        ceilings,
        device=device,
        batch=args.batch,
        num_frames=args.frames,
        train=args.train,
        repeats=args.repeats,
        warmup=args.warmup,
    )
    what = "Training step" if args.train else "Pass without gradient"
    settings = (
        f"{what}, {args.batch} x {args.frames} frames, median (quartiles) of {args.repeats} rounds after "
        f"{args.warmup} warm-up runs."
    )
    label = "ms a step" if args.train else "ms a frame"
    return _finish(args, rows, network_table(rows), settings, device, ceilings, network_bars(rows), label)


def _ops(args: argparse.Namespace) -> int:
    from vsrm_arch.bench import bench_ops, measure_ceilings
    from vsrm_arch.bench.plot import op_bars
    from vsrm_arch.bench.report import op_table

    shape = _numbers("--shape", args.shape, count=4, example="1x12288x224x16") if args.shape else None
    if shape and len(args.op) > 1:
        raise UserError("--shape belongs to one op: name it with --op")
    device = _device(args.device)
    ceilings = measure_ceilings(device, args.dtype)
    rows = bench_ops(
        args.op,
        shape,
        args.dtype,
        ceilings,
        device=device,
        backends=args.backend,
        reference=args.reference,
        repeats=args.repeats,
        warmup=args.warmup,
    )
    settings = f"Median (quartiles) of {args.repeats} rounds after {args.warmup} warm-up runs."
    return _finish(args, rows, op_table(rows), settings, device, ceilings, op_bars(rows), "ms")


def _check(args: argparse.Namespace) -> None:
    """What a long measurement should not end with."""
    for name in ("repeats", "frames", "batch"):
        if getattr(args, name, 1) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: must be at least 1")
    if args.warmup < 0:
        raise UserError(f"--warmup {args.warmup}: must be at least 0")
    for name in ("csv", "json", "markdown", "plot"):
        path: Path | None = getattr(args, name)
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            fault = "is a folder" if path.is_dir() else f"there is no folder {path.parent}; make it first"
            raise UserError(f"--{name} {path}: {fault}")
    if args.plot is not None:
        from vsrm_arch.bench.plot import check_plot

        check_plot(args.plot)


def _numbers(flag: str, text: str, count: int, example: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if len(parts) != count or not all(part.isdecimal() and int(part) for part in parts):
        raise UserError(f"{flag} {text}: expected {count} positive numbers with x between them, such as {example}")
    return tuple(map(int, parts))


def _device(name: str) -> "torch.device":
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("--device cuda: PyTorch sees no CUDA device; basicsr doctor says why, or give --device cpu")
    if name == "cpu" or not available:
        return torch.device("cpu")
    # As BasicSR's pipelines set it.
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda", torch.cuda.current_device())


def _finish(
    args: argparse.Namespace,
    rows: "Sequence[NetworkRow] | Sequence[OpRow]",
    table: str,
    settings: str,
    device: "torch.device",
    ceilings: "Ceilings",
    bars: "Sequence[Bar]",
    label: str,
) -> int:
    """Prints and writes what was measured; returns the exit status."""
    from vsrm_arch.bench import environment
    from vsrm_arch.bench.plot import plot
    from vsrm_arch.bench.report import markdown, write_csv, write_json

    program = Path(sys.argv[0]).name.replace("__main__.py", "python -m vsrm_arch")
    about = environment(device, f"{program} {shlex.join(sys.argv[1:])}")
    text = markdown(table, settings, about, ceilings)
    sys.stdout.write(text)
    if args.markdown is not None:
        args.markdown.write_text(text, encoding="utf-8")
    if args.csv is not None:
        write_csv(args.csv, rows, about, ceilings)
    if args.json is not None:
        write_json(args.json, rows, about, ceilings)
    if args.plot is not None and bars:
        plot(args.plot, bars, label, f"{about['device']}, torch {about['torch']}")
    return int(any(row.status.startswith("failed") for row in rows))


@contextmanager
def _progress() -> Iterator[None]:
    """Shows the log on standard error, apart from the table on standard output."""
    logger = logging.getLogger("basicsr.vsrm_arch")
    handler = logging.StreamHandler(sys.stderr)
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
