"""Run a trained network on test clips and measure it.

Runs BasicSR's test pipeline. The log with the metrics, and the enlarged frames (val: save_img: true), go to
results/<name>/; the results of an earlier test of the same name are moved aside to results/<name>_archived_<time>.
"""

import argparse
import sys

from vsrm_arch.cli.pipelines import relative, run_pipeline
from vsrm_arch.config import add_flags

__all__ = ["add_arguments", "run"]

_EPILOG = """examples:
  basicsr test -opt options/sample/test_VSRM_sample.yml
      what options/sample/train_VSRM_sample.yml has trained

  basicsr test -opt options/test_VSRM_Vid4.yml \\
      --force_yml path:pretrain_network_g=experiments/train_VSRM_REDS/models/net_g_latest.pth val:save_img=true
      other weights; the enlarged frames are saved

  torchrun --nproc_per_node=4 -m vsrm_arch test -opt options/test_VSRM_REDS4.yml --launcher pytorch
  torchrun --nproc_per_node=4 $(which basicsr) test -opt options/test_VSRM_REDS4.yml --launcher pytorch
      the clips shared out among four GPUs; both lines do the same"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's flags, and examples."""
    add_flags(parser)
    parser.epilog = _EPILOG


def run(args: argparse.Namespace) -> int:
    """Tests; says at the end where the results are.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0
    """
    from basicsr.test import test_pipeline

    options = run_pipeline(test_pipeline, args)
    if options["rank"] == 0:
        sys.stdout.write(f"done: log and pictures in {relative(options['path']['results_root'])}\n")
    return 0
