"""Checkpoints: network files and training states, written atomically and loaded with weights only."""

import inspect
import io
import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from vsrm_arch.errors import UserError, first_line
from vsrm_arch.models.saving import save
from vsrm_arch.weights import fit
from vsrm_arch.wording import some

__all__ = [
    "load_resume_state",
    "load_weights",
    "network_metadata",
    "network_path",
    "read",
    "remove_old_checkpoints",
    "state_path",
    "write",
]

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


def read(path: str | Path, what: str) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, tensors and plain values only.

    Args:
        path: The file.
        what: What names it, for the messages: an option's key, say.

    Raises:
        UserError: If the file is missing, damaged, or holds anything but tensors and plain values.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{what}: cannot read {path}: {error.strerror or error}; check the path") from error
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):
            raise UserError(f"{what}: {path} is no checkpoint, or a damaged one; give another file") from error
        raise UserError(
            f"{what}: {path} holds Python objects besides tensors, which could run code and are not loaded; "
            "save its state dict alone"
        ) from error
    except Exception as error:  # a damaged archive fails in many ways
        raise UserError(
            f"{what}: {path} is no checkpoint, or a damaged one ({first_line(error)[:120]}); give another file"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{what}: {path} holds a {type(content).__name__}, not a dict of weights; give another file")
    return content


def load_weights(
    network: nn.Module,
    path: str | Path,
    param_key: str | None,
    strict: bool = True,
    fallback: str | None = None,
    what: str = "path.pretrain_network_g",
) -> None:
    """Loads a network file.

    Args:
        network: The bare network.
        path: The network file.
        param_key: The weights to take, "params" or "params_ema" in BasicSR's files. None: the file is the weights.
        strict: Whether the weights must fit the network exactly; otherwise what fits is loaded, with a warning.
        fallback: The weights to take where there are none of ``param_key``.
        what: What names the file, for messages.

    Raises:
        UserError: If the file cannot be read, has no such key, or does not fit.
    """
    content = read(path, what)
    if param_key is not None and param_key not in content and fallback in content:
        _logger.info("%s holds no %s; taking %s", path, param_key, fallback)
        param_key = fallback
    if param_key is None:
        weights = content
    elif param_key in content:
        weights = content[param_key]
    else:
        raise UserError(
            f"path.param_key_g: {path} has no {param_key}; it has {some(content)}: set param_key_g to one of them, or "
            "to null if the file is the weights themselves"
        )
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(
            f"path.param_key_g: {param_key} of {path} is not a dict of tensors; set param_key_g to params or params_ema"
        )
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    fitting, faults = fit(network, weights)
    if faults and strict:
        raise UserError(
            f"{what}: {path} does not fit the network {type(network).__name__}: {'; '.join(faults)}. "
            f"{_made_by(content)}Set network_g accordingly, or load what fits by pretrain_network_g and "
            "strict_load_g: false"
        )
    if faults:
        _logger.warning("%s: loading only what fits: %s", path, "; ".join(faults))
    network.load_state_dict(fitting, strict=strict)
    _logger.info("Loaded %s from %s, key %s.", type(network).__name__, path, param_key)


def _made_by(content: dict[str, Any]) -> str:
    metadata = content.get("metadata")
    return f"The file was made with network_g {metadata['network']}. " if isinstance(metadata, dict) else ""


def network_metadata(network_g: dict[str, Any], scale: int, iteration: int) -> dict[str, Any]:
    """What a later program needs to build the network that a file's weights belong to.

    Args:
        network_g: The option section: the type and the arguments given.
        scale: Enlargement.
        iteration: Iterations trained.

    Returns:
        Plain values: ``network`` is a whole ``network_g`` section with the defaults of today filled in, without paths
        (the weights are in the file).
    """
    from vsrm_arch import __version__

    given = {name: value for name, value in network_g.items() if name != "type"}
    parameters = inspect.signature(ARCH_REGISTRY.get(network_g["type"])).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    arguments = {name: None if name.endswith("path") else value for name, value in (defaults | given).items()}
    return {
        "package": f"vsrm_arch {__version__}",
        "network": {"type": network_g["type"]} | {name: _plain(value) for name, value in arguments.items()},
        "scale": scale,
        "iteration": iteration,
    }


def _plain(value: Any) -> Any:
    """Lists and dicts of plain values, whatever the option file's reader has made them of."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


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
