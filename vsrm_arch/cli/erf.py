"""Draw the effective receptive fields of networks side by side, as the paper's Fig. 6.

For every input pixel of the centre frame: how much the enlarged pixel in the centre hears of it, on a logarithmic
scale. Clips are the sample's, rendered at the size of the input; weights are those that path.pretrain_network_g of an
option file names, or with --untrained random ones.
"""

import argparse
from pathlib import Path

from vsrm_arch.cli.measuring import numbers, progress, use_device
from vsrm_arch.errors import UserError

__all__ = ["add_arguments", "run"]

_EPILOG = """Under each picture stands how large a square about the centre, as a share of the frame, holds 50 % and 95 %
of what is heard of the frame.

examples:
  basicsr erf -opt options/sample/test_VSRM_sample.yml --untrained -o erf.png
      before training

  basicsr erf -opt options/test_VSRM_REDS4.yml options/test_IART_REDS4.yml options/test_BasicVSRPP_REDS4.yml \\
      --size 64x64 --frames 5
      three trained networks"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The networks, the clips and the picture."""
    parser.epilog = _EPILOG
    parser.add_argument("-opt", nargs="+", default=[], metavar="FILE", help="option files (YAML)")
    parser.add_argument("-o", "--output", type=Path, default=Path("erf.png"), metavar="FILE", help="default: erf.png")
    parser.add_argument("--untrained", action="store_true", help="random weights")
    text = "height x width of the input frames (default: 64x64)"
    parser.add_argument("--size", default="64x64", metavar="HxW", help=text)
    parser.add_argument("--frames", type=int, default=5, metavar="N", help="frames of a clip (default: 5)")
    parser.add_argument("--clips", type=int, default=4, metavar="N", help="clips to average over (default: 4)")
    text = "auto: the GPU if there is one (default: auto)"
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=text)


def run(args: argparse.Namespace) -> int:
    """Draws the picture.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0.

    Raises:
        UserError: If an argument, an option file or a network file is at fault.
    """
    import sys

    import torch

    from vsrm_arch.bench import read_networks
    from vsrm_arch.config import load_yaml
    from vsrm_arch.figures import effective_receptive_field
    from vsrm_arch.figures.erf import draw, sample_clips
    from vsrm_arch.plotting import check_plot
    from vsrm_arch.weights import load_weights

    if not args.opt:
        raise UserError("nothing to draw: name option files with -opt")
    for name in ("frames", "clips"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: must be at least 1")
    check_plot(args.output, "-o")
    height, width = numbers("--size", args.size, count=2, example="64x64")
    device = use_device(args.device)
    clips = [clip.to(device) for clip in sample_clips(args.clips, args.frames, height, width)]
    fields = []
    with progress():
        for path, file in zip(args.opt, read_networks(args.opt), strict=True):
            torch.manual_seed(0)
            network = file.build().eval()
            if not args.untrained:
                weights = (load_yaml(path).get("path") or {}).get("pretrain_network_g")
                if not weights:
                    raise UserError(f"{path}: path.pretrain_network_g names no weights; --untrained takes random ones")
                load_weights(network, weights, "params_ema", fallback="params", what=f"{path}: path.pretrain_network_g")
            fields.append((file.name, effective_receptive_field(network.to(device), clips)))
    draw(args.output, fields)
    sys.stdout.write(f"{args.output}\n")
    return 0
