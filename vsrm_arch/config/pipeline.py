"""What stands in for BasicSR's ``parse_options``: the same flags, the same option dict, nothing executed."""

import argparse
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsrm_arch.config.checking import check, check_files
from vsrm_arch.config.messages import OptionError
from vsrm_arch.config.overriding import override
from vsrm_arch.config.yaml_file import load_yaml

__all__ = ["Launch", "add_flags", "launch", "parse_options", "read_options"]


@dataclass
class Launch:
    """One start of a pipeline.

    Attributes:
        args: The flags of :func:`add_flags`, parsed.
        options: The option dict that :func:`parse_options` made of them; None before the pipeline has asked for it.
    """

    args: argparse.Namespace
    options: dict[str, Any] | None = None


_current: ContextVar[Launch | None] = ContextVar("launch", default=None)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds BasicSR's flags to a parser."""
    parser.add_argument("-opt", "--opt", required=True, metavar="FILE", help="option file (YAML)")
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm"],
        default="none",
        help="what started the processes: none (one process), pytorch (torchrun) or slurm (srun); default: none",
    )
    parser.add_argument(
        "--auto_resume",
        action="store_true",
        help="training: go on from the newest readable training state, if there is any",
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        help="a trial: name prefixed by debug_; a training logs every iteration, validates and saves every 8",
    )
    parser.add_argument(
        "--force_yml",
        nargs="+",
        default=[],
        metavar="A:B=VALUE",
        help="set options in place of the file's, such as train:ema_decay=0.99 'train:scheduler:periods=[1000]'; "
        "null for none",
    )
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, metavar="N", help="given by old launchers; not used"
    )


@contextmanager
def launch(args: argparse.Namespace) -> Iterator[Launch]:
    """Hands parsed flags to the pipeline that is called inside: it then does not parse ``sys.argv`` again."""
    current = Launch(args)
    token = _current.set(current)
    try:
        yield current
    finally:
        _current.reset(token)


def read_options(path: str, assignments: Sequence[str], is_train: bool) -> dict[str, Any]:
    """Reads an option file, applies ``--force_yml`` and checks the result.

    Args:
        path: The option file.
        assignments: Of ``--force_yml``.
        is_train: Whether to train or to test.

    Returns:
        The options, see :func:`~vsrm_arch.config.checking.check`.

    Raises:
        OptionError: At the first fault.
    """
    options = override(load_yaml(path), *assignments)
    return check(options, f"{path} with --force_yml" if assignments else str(path), is_train)


def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
    """Gives BasicSR's pipelines their options, and starts the process group where a launcher is named.

    Every section is checked first. Call it as BasicSR's function of this name; the flags are those of the surrounding
    :func:`launch`, or else of ``sys.argv``.

    Args:
        root_path: The folder that holds ``experiments/`` and ``results/``.
        is_train: Whether the pipeline trains or tests.

    Returns:
        The option dict as the pipelines expect it, and the flags.

    Raises:
        OptionError: If an option is at fault.
        UserError: If the launcher is.
    """
    current = _current.get() or Launch(_parse_argv())
    args = current.args
    options = read_options(args.opt, args.force_yml or [], is_train)
    check_files(options, args.opt)
    options["auto_resume"] = args.auto_resume
    options["is_train"] = is_train
    options["root_path"] = str(root_path)
    if args.debug and not options["name"].startswith("debug"):
        options["name"] = f"debug_{options['name']}"
    _count_gpus(options, args)
    _distribute(options, args.launcher)
    _seed(options)
    _set_paths(options, Path(root_path))
    if is_train and "debug" in options["name"]:
        options["logger"] |= {"print_freq": 1, "save_checkpoint_freq": 8}
        if options.get("val") is not None:
            options["val"]["val_freq"] = 8
    current.options = options
    return options, args


def _parse_argv() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args()


def _count_gpus(options: dict[str, Any], args: argparse.Namespace) -> None:
    import torch

    available = torch.cuda.device_count()
    if options["num_gpu"] == "auto":
        # One process uses one GPU; a launcher starts more of them.
        options["num_gpu"] = min(available, 1) if args.launcher == "none" else available
    if not isinstance(options["num_gpu"], int) or options["num_gpu"] < 0:
        raise OptionError(f"{args.opt}: num_gpu: expected a number of GPUs or auto, got {options['num_gpu']!r}")
    # With a launcher, the number of processes counts, not this key.
    wanted = options["num_gpu"] if args.launcher == "none" else min(options["num_gpu"], 1)
    if wanted > available:
        raise OptionError(
            f"{args.opt}: num_gpu: {options['num_gpu']} asked for, but CUDA finds {available}; "
            "write auto to use what there is (--force_yml num_gpu=auto)"
        )


def _distribute(options: dict[str, Any], launcher: str) -> None:
    from basicsr.utils import dist_util

    from vsrm_arch.distributed import check_alone

    options["dist"] = launcher != "none"
    if launcher == "none":
        check_alone()
    else:
        params = dict(options.get("dist_params") or {})
        if options["num_gpu"] == 0:
            params["backend"] = "gloo"
        dist_util.init_dist(launcher, **params)
    options["rank"], options["world_size"] = dist_util.get_dist_info()


def _seed(options: dict[str, Any]) -> None:
    """Seeds every generator; without ``manual_seed``, the first process draws one for all."""
    import torch.distributed as dist
    from basicsr.utils import set_random_seed

    if options.get("manual_seed") is None:
        drawn = [random.randint(1, 10000)]
        if options["dist"]:
            dist.broadcast_object_list(drawn)
        options["manual_seed"] = drawn[0]
    set_random_seed(options["manual_seed"] + options["rank"])


def _set_paths(options: dict[str, Any], root: Path) -> None:
    paths = options["path"]
    if options["is_train"]:
        folder = root / "experiments" / options["name"]
        paths["experiments_root"] = paths["log"] = str(folder)
        paths["models"] = str(folder / "models")
        paths["training_states"] = str(folder / "training_states")
    else:
        folder = root / "results" / options["name"]
        paths["results_root"] = paths["log"] = str(folder)
    paths["visualization"] = str(folder / "visualization")
