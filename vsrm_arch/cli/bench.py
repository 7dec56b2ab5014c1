"""Time networks of option files side by side, the implementations of the ops, or films that are enlarged.

All are built in one process, checked, warmed up and then timed in turns, those of one size together. The table shows
the median with its quartiles. Weights are random, and so are the clips: nothing but network_g and scale of an option
file is read, with --train also train: compile.
"""

import argparse
from pathlib import Path

from vsrm_arch.cli.measuring import add_common, check, finish, numbers, progress, use_device
from vsrm_arch.cli.upscale import add_network, load_network
from vsrm_arch.errors import UserError

__all__ = ["add_arguments", "run"]

_OPS = (
    "selective_scan",
    "cross_scan",
    "causal_conv1d",
    "gated_conv3d",
    "norm_linear",
    "gated_linear",
    "encoded_sample",
    "dca",
)
# As ``bench.STAGES``, which a help text need not wait for.
_STAGES = ("network", "frames in memory", "whole command")

_EPILOG = """columns:
  ms a frame     of the pass without gradient: time / (batch x frames); with --train ms a step: forward, Charbonnier
                 loss, backward and Adam on the whole clip, with the checkpointing of network_g
  peak GiB       GPU memory with weights and inputs, after the first run; CSV and JSON have the first run's, too
  matrix share   2 x multiply-adds / time, as a share of what a large matrix product reaches in this dtype in the
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
      the implementations of the ops; basicsr bench ops -h says more

  basicsr bench upscale holiday.mp4
      what reading and writing a film add to the network; basicsr bench upscale -h says more"""
_OPS_TEXT = """Time the implementations of the ops side by side: forward, and forward with backward.

Inputs are random, tokens in the dtype, parameters in float32. A GPU replays each as a CUDA graph, as it does the steps
of the network. Short calls run several times in a row for a sample."""
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
  encoded_sample    height x width x points a pixel x channels
  dca               height x width x channels

dca is the whole alignment, on the best backends of its ops, or on their portable or naive ones."""

_FILMS_TEXT = """Time the enlargement of films, stage by stage: what reading, writing and moving frames add to the
network, and what memory a film takes. Windows and tiles are chosen once for each film, or given."""
_FILMS_EPILOG = """stages, each with what the one before does:
  network           the passes alone: their clips lie ready on the device, and what comes out stays there
  frames in memory  from arrays to arrays, as vsrm_arch.inference.upscale: scene cuts, conversions, transfers
  whole command     as basicsr upscale: decoded, enlarged, encoded, put together with the other streams

columns:
  peak GiB          GPU memory beyond the weights
  main memory, GiB  of the process at most, looked at every 50 ms

examples:
  basicsr bench upscale holiday.mp4 --weights experiments/VSRM_sample/models/net_g_latest.pth
  basicsr bench upscale short.mp4 long.mp4 --stage "whole command" --window 16 --tile 0 --repeats 1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the networks, and sub-commands for the ops and for films."""
    parser.epilog = _EPILOG
    parser.usage = (
        "%(prog)s [-h] -opt FILE [FILE ...] [options]\n"
        "       %(prog)s ops [-h] [options]\n"
        "       %(prog)s upscale [-h] FILM [FILM ...] [options]"
    )
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
    text = "no GMAC and matrix share; to count takes half a minute or more for a large network"
    parser.add_argument("--no-count", action="store_true", help=text)
    add_common(parser, repeats=10, warmup=2)
    parser.set_defaults(function=_networks)
    commands = parser.add_subparsers(prog=parser.prog, title="in place of networks", metavar="ops, upscale")
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
    ops.add_argument("--launched", action="store_true", help="not as CUDA graphs: times include launching from Python")
    add_common(ops, repeats=20, warmup=3)
    ops.set_defaults(function=_ops)
    films = commands.add_parser(
        "upscale",
        help="time the enlargement of films",
        description=_FILMS_TEXT,
        epilog=_FILMS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    films.add_argument("films", nargs="+", type=Path, metavar="FILM", help="video (the extra video)")
    add_network(films)
    text = f"of {', '.join(_STAGES)} (default: all)"
    films.add_argument("--stage", nargs="+", choices=_STAGES, default=_STAGES, metavar="STAGE", help=text)
    add_common(films, repeats=3, warmup=0)
    films.set_defaults(function=_films)


def run(args: argparse.Namespace) -> int:
    """Times, prints the table and writes the files.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0; 1 if something failed, running out of memory apart.

    Raises:
        UserError: If an argument or an option file is at fault.
    """
    check(args)
    with progress():
        return int(args.function(args))


def _networks(args: argparse.Namespace) -> int:
    from vsrm_arch.bench import bench_networks, measure_ceilings, read_networks
    from vsrm_arch.bench.plot import network_bars
    from vsrm_arch.bench.report import network_table

    if not args.opt:
        raise UserError("nothing to time: name option files with -opt, or the ops: basicsr bench ops")
    sizes = [numbers("--size", size, count=2, example="180x320") for size in args.size]
    files = read_networks(args.opt)
    device = use_device(args.device)
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
        counted=not args.no_count,
        repeats=args.repeats,
        warmup=args.warmup,
    )
    what = "Training step" if args.train else "Pass without gradient"
    settings = (
        f"{what}, {args.batch} x {args.frames} frames, median (quartiles) of {args.repeats} rounds after "
        f"{args.warmup} warm-up runs."
    )
    label = "ms a step" if args.train else "ms a frame"
    return finish(args, rows, network_table(rows), settings, device, ceilings, network_bars(rows), label)


def _ops(args: argparse.Namespace) -> int:
    from vsrm_arch.bench import WORKLOADS, bench_ops, measure_ceilings
    from vsrm_arch.bench.plot import op_bars
    from vsrm_arch.bench.report import op_table

    if args.shape and len(args.op) > 1:
        raise UserError("--shape belongs to one op: name it with --op")
    shape = None
    if args.shape:
        example = "x".join(map(str, WORKLOADS[args.op[0]].shapes["cpu"][0]))
        shape = numbers("--shape", args.shape, count=example.count("x") + 1, example=example)
    device = use_device(args.device)
    ceilings = measure_ceilings(device, args.dtype)
    rows = bench_ops(
        args.op,
        shape,
        args.dtype,
        ceilings,
        device=device,
        backends=args.backend,
        reference=args.reference,
        replayed=not args.launched,
        repeats=args.repeats,
        warmup=args.warmup,
    )
    settings = f"Median (quartiles) of {args.repeats} rounds after {args.warmup} warm-up runs."
    return finish(args, rows, op_table(rows), settings, device, ceilings, op_bars(rows), "ms")


def _films(args: argparse.Namespace) -> int:
    from vsrm_arch.bench import bench_films
    from vsrm_arch.bench.plot import film_bars
    from vsrm_arch.bench.report import film_table

    device = use_device(args.device)
    loaded = load_network(args, device)
    rows = bench_films(
        args.films,
        loaded,
        args.dtype,
        device=device,
        window=args.window,
        tile=args.tile,
        stages=args.stage,
        repeats=args.repeats,
        warmup=args.warmup,
    )
    settings = (
        f"{loaded.name}, weights {loaded.source}; median (quartiles) of {args.repeats} rounds after {args.warmup + 2} "
        "runs that are not counted."
    )
    return finish(args, rows, film_table(rows), settings, device, None, film_bars(rows), "ms a frame")
