"""Checkpoints: network files and training states, written atomically, and the one to go on from."""

import io
import logging
import re
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.dist_util import get_dist_info

from vsrm_arch.errors import UserError
from vsrm_arch.models.saving import save
from vsrm_arch.weights import read

__all__ = ["load_resume_state", "network_path", "remove_old_checkpoints", "state_path", "write"]

_logger = logging.getLogger("basicsr.vsrm_arch")


def network_path(models: str | Path, iteration: int | str) -> Path:
    """The network file of an iteration ("latest" and "best" are names, too)."""
    return Path(models) / f"net_g_{iteration}.pth"


def state_path(training_states: str | Path, iteration: int) -> Path:
    """The training state of an iteration."""
    return Path(training_states) / f"{iteration}.state"


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a checkpoint atomically.

    Raises:
        UserError: If it cannot be written; the file that was there before is intact.
    """
    # Via memory: a full disk then is a plain OSError, and no error of the serialisation reaches the disk.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    save(path, buffer.getbuffer())


def remove_old_checkpoints(models: str | Path, training_states: str | Path, keep: int) -> None:
    """Removes all but the newest ``keep`` checkpoints, "latest" and "best" aside."""
    for iteration in _iterations(training_states)[keep:]:
        # The state first: what is left of a pair is never a state without its network.
        state_path(training_states, iteration).unlink(missing_ok=True)
        network_path(models, iteration).unlink(missing_ok=True)


def _iterations(training_states: str | Path) -> list[int]:
    """The iterations of a folder's training states, newest first."""
    names = (re.fullmatch(r"(\d+)\.state", path.name) for path in Path(training_states).glob("*.state"))
    return sorted((int(name[1]) for name in names if name), reverse=True)


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Finds and reads the training state to go on from; takes the place of the function in basicsr.train.

    With ``--auto_resume`` that is the newest state of the experiment that can be read together with its network file;
    otherwise the one that ``path: resume_state`` names, if any. As BasicSR does, it enters the network file and the
    state's path in ``opt["path"]``, and where the training stands in ``opt["resumed"]``.

    Args:
        opt: All options.

    Returns:
        The training state, on the CPU, or None to start afresh.

    Raises:
        UserError: If the named state, or all states of the experiment, cannot be read.
    """
    paths = opt["path"]
    if opt["auto_resume"]:
        found = _newest_readable_on_rank_0(paths)
    elif paths.get("resume_state"):
        state = Path(paths["resume_state"])
        content = _read_state(state)
        network = network_path(paths["models"], content["iter"])
        if not network.exists():  # a state of another experiment lies beside that one's networks
            network = network_path(state.parent.parent / "models", content["iter"])
        if not network.exists():
            raise UserError(f"path.resume_state: {state} has no network file {network}; put it back or name another")
        found = state, network
    else:
        return None
    if found is None:
        return None
    state, network = found
    paths["resume_state"] = str(state)
    if "network_g" not in (paths.get("ignore_resume_networks") or ()):
        paths["pretrain_network_g"] = str(network)
        paths["param_key_g"] = "params"
        paths["strict_load_g"] = True
    for key in ("experiments_root", "models", "training_states", "visualization"):
        Path(paths[key]).mkdir(parents=True, exist_ok=True)
    content = _read_state(state)
    opt["resumed"] = {"epoch": content["epoch"], "iter": content["iter"]}
    return content


def _read_state(path: Path) -> dict[str, Any]:
    content = read(path, "path.resume_state")
    missing = [name for name in ("epoch", "iter", "optimizers", "schedulers") if name not in content]
    if missing:
        raise UserError(f"path.resume_state: {path} is no training state: it has no {missing[0]}; give another file")
    return content


def _newest_readable(paths: dict[str, Any]) -> tuple[Path, Path] | None:
    iterations = _iterations(paths["training_states"])
    if not iterations:
        folder = Path(paths["training_states"]).parent
        archived = max(folder.parent.glob(f"{folder.name}_archived_*"), default=None)
        hint = "" if archived is None else f"; to go on with {archived}, move it back first"
        _logger.warning("--auto_resume: %s holds no training state: starting afresh%s", folder, hint)
        return None
    for iteration in iterations:
        state, network = state_path(paths["training_states"], iteration), network_path(paths["models"], iteration)
        try:
            _read_state(state)
            read(network, "its network file")
        except UserError as error:
            _logger.warning("Skipping the checkpoint of iteration %d: %s", iteration, error)
        else:
            return state, network
    raise UserError(
        f"--auto_resume: none of the {len(iterations)} checkpoints in {paths['training_states']} can be read; start "
        "afresh without --auto_resume (the old experiment is kept under another name)"
    )


def _newest_readable_on_rank_0(paths: dict[str, Any]) -> tuple[Path, Path] | None:
    """Rank 0's choice, for all ranks: a shared file system may show each of them something else."""
    rank, world_size = get_dist_info()
    choice = [_newest_readable(paths) if rank == 0 else None]
    if world_size > 1:
        torch.distributed.broadcast_object_list(choice, src=0)
    return choice[0]
