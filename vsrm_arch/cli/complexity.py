"""Count parameters and multiply-adds of networks, time them, and set the paper's Table 8 beside it.

What network_g of each option file builds is counted, with random weights, by the protocol that reproduces IART's
published figure, and timed side by side as basicsr bench does.
"""

import argparse

from vsrm_arch.cli.measuring import add_common, check, finish, numbers, progress, use_device
from vsrm_arch.errors import UserError

__all__ = ["add_arguments", "run"]

_EPILOG = """columns:
  GMAC       multiply-adds of a frame of an endless clip: flow network and upsampler included, LayerNorm 5 an element,
             scans left out
  scan, Gop  beside it: 9 x tokens x channels x states for each direction
  ms a frame of a pass without gradient: the median with its quartiles
  paper: ... Table 8 of the paper, for networks of the published size; nothing in these columns was measured here, and
             the times are of another card

examples:
  basicsr complexity -opt options/test_VSRM_REDS4.yml options/test_IART_REDS4.yml --count-only
      parameters and multiply-adds, without running anything

  basicsr complexity -opt options/test_VSRM_REDS4.yml options/test_IART_REDS4.yml options/test_PSRT_REDS4.yml \\
      options/test_BasicVSRPP_REDS4.yml --dtype bf16 --csv complexity.csv
      the whole table, on the GPU if there is one"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The networks, the frames, and what the commands that measure share."""
    parser.epilog = _EPILOG
    parser.add_argument("-opt", nargs="+", default=[], metavar="FILE", help="option files (YAML); network_g is counted")
    text = "height x width of the input frames (default: 64x64, as in publications)"
    parser.add_argument("--size", default="64x64", metavar="HxW", help=text)
    parser.add_argument("--frames", type=int, default=16, metavar="N", help="frames of the timed clip (default: 16)")
    parser.add_argument("--count-only", action="store_true", help="do not time")
    add_common(parser, repeats=10, warmup=2)


def run(args: argparse.Namespace) -> int:
    """Counts, times, prints the table and writes the files.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0; 1 if something failed, running out of memory apart.

    Raises:
        UserError: If an argument or an option file is at fault.
    """
    from vsrm_arch.bench import bench_networks, measure_ceilings, read_networks
    from vsrm_arch.bench.plot import network_bars
    from vsrm_arch.bench.report import complexity_table

    check(args)
    if not args.opt:
        raise UserError("nothing to count: name option files with -opt")
    if args.count_only and args.plot is not None:
        raise UserError("--plot draws times, and --count-only takes none: leave out one of them")
    height, width = numbers("--size", args.size, count=2, example="64x64")
    files = read_networks(args.opt)
    device = use_device(args.device)
    with progress():
        # Multiply-adds do not depend on the precision.
        dtypes = args.dtype[:1] if args.count_only else args.dtype
        ceilings = None if args.count_only else measure_ceilings(device, dtypes)
        rows = bench_networks(
            files,
            [(height, width)],
            dtypes,
            ceilings,
            device=device,
            num_frames=args.frames,
            repeats=args.repeats,
            warmup=args.warmup,
        )
    settings = f"Counted at {height}x{width}."
    if not args.count_only:
        settings = (
            f"Counted and timed at {height}x{width}: a clip of {args.frames} frames, median (quartiles) of "
            f"{args.repeats} rounds after {args.warmup} warm-up runs."
        )
    return finish(args, rows, complexity_table(rows), settings, device, ceilings, network_bars(rows), "ms a frame")
