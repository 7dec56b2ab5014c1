"""Train a network as an option file says.

Runs BasicSR's training pipeline. Weights, training states, the log and validation pictures go to experiments/<name>/.
An experiment of the same name is moved aside first, to experiments/<name>_archived_<time>, unless it is resumed.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from vsrm_arch.cli.pipelines import relative, run_pipeline
from vsrm_arch.config import add_flags

__all__ = ["add_arguments", "run"]

_EPILOG = """examples:
  basicsr train -opt options/sample/train_VSRM_sample.yml
      the built-in sample, a few minutes on a CPU

  basicsr train -opt options/train_VSRM_REDS.yml --auto_resume
      go on from the newest checkpoint of this experiment; start afresh if there is none

  basicsr train -opt options/train_VSRM_REDS.yml --debug \\
      --force_yml num_gpu=1 datasets:train:batch_size_per_gpu=1
      a trial with other options: no file is edited

  torchrun --nproc_per_node=8 -m vsrm_arch train -opt options/train_VSRM_REDS.yml --launcher pytorch
  torchrun --nproc_per_node=8 $(which basicsr) train -opt options/train_VSRM_REDS.yml --launcher pytorch
      eight GPUs of one machine, a process each; both lines do the same

  torchrun --nnodes=2 --node_rank=0 --nproc_per_node=8 --master_addr=HOST --master_port=29500 \\
      -m vsrm_arch train -opt options/train_VSRM_REDS.yml --launcher pytorch
      two machines: the same on the second with --node_rank=1; HOST is the first one's name

  srun --nodes=2 --ntasks-per-node=8 --gres=gpu:8 \\
      basicsr train -opt options/train_VSRM_REDS.yml --launcher slurm --auto_resume
      the same under Slurm

A checkpoint is saved every logger:save_checkpoint_freq iterations. After Ctrl-C or a crash, --auto_resume goes on from
the newest one that is readable; path:resume_state in the option file names another."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's flags, and examples."""
    add_flags(parser)
    parser.epilog = _EPILOG


def run(args: argparse.Namespace) -> int:
    """Trains; says at the end where the results are.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0
    """
    from basicsr.train import train_pipeline

    options = run_pipeline(train_pipeline, args, _newest_state)
    if options["rank"] == 0:
        paths = options["path"]
        places = [f"weights in {relative(paths['models'])}", f"log in {relative(paths['log'])}"]
        if Path(paths["visualization"]).is_dir() and any(Path(paths["visualization"]).iterdir()):
            places.append(f"pictures in {relative(paths['visualization'])}")
        sys.stdout.write(f"done: {', '.join(places)}\n")
    return 0


def _newest_state(options: dict[str, Any]) -> str:
    folder = Path(options["path"]["training_states"])
    states = sorted((s for s in folder.glob("*.state") if s.stem.isdigit()), key=lambda s: int(s.stem))
    if not states:
        return "no checkpoint had been saved yet"
    return f"the newest checkpoint is {relative(str(states[-1]))}; --auto_resume goes on from it"
