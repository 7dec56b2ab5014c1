"""Network files: weights, read with weights only, what they belong to, and which of them fit a network."""

import inspect
import json
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from vsrm_arch.errors import UserError, first_line
from vsrm_arch.wording import counted, some

__all__ = ["METADATA_KEY", "fit", "load_weights", "network_metadata", "read"]

# The key of a .safetensors file's header under which the metadata stand, as JSON: the header holds texts only.
METADATA_KEY = "vsrm_arch"

_logger = logging.getLogger("basicsr.vsrm_arch")


def read(path: str | Path, what: str) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, tensors and plain values only.

    Args:
        path: The file. One that ends in .safetensors (extra ``hub``) is read as BasicSR lays out its own: the tensors
            are ``params``, and what its header holds under ``METADATA_KEY`` is ``metadata``.
        what: What names it, for the messages: an option's key, say.

    Raises:
        UserError: If the file is missing, damaged, or holds anything but tensors and plain values.
    """
    path = Path(path)
    read_format = _read_safetensors if path.suffix.lower() == ".safetensors" else _read_pickle
    try:
        content = read_format(path, what)
    except OSError as error:
        raise UserError(f"{what}: cannot read {path}: {error.strerror or error}; check the path") from error
    except UserError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        fault = _mistaken(path) or (
            f"is no checkpoint, or a damaged one ({first_line(error)[:120]}); give another file"
        )
        raise UserError(f"{what}: {path} {fault}") from error
    if not isinstance(content, dict):
        raise UserError(f"{what}: {path} holds a {type(content).__name__}, not a dict of weights; give another file")
    return content


def _read_pickle(path: Path, what: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise UserError(
                f"{what}: {path} holds Python objects besides tensors, which could run code and are not loaded; "
                "save its state dict alone"
            ) from error
        # PyTorch's own message is a paragraph that advises to load with code.
        raise UserError(
            f"{what}: {path} {_mistaken(path) or 'is no checkpoint, or a damaged one; give another file'}"
        ) from error


def _read_safetensors(path: Path, what: str) -> dict[str, Any]:
    try:
        from safetensors import safe_open
    except ImportError:
        raise UserError(f"{what}: reading {path} needs safetensors: pip install 'vsrm-arch[hub]'") from None
    path.open("rb").close()  # safetensors does not say why a file cannot be opened
    with safe_open(path, framework="pt", device="cpu") as file:
        content: dict[str, Any] = {"params": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
        header = file.metadata() or {}
    if METADATA_KEY in header:
        try:
            content["metadata"] = json.loads(header[METADATA_KEY])
        except (ValueError, RecursionError) as error:
            raise UserError(f"{what}: {path}: {METADATA_KEY} in its header is no JSON; make the file anew") from error
    return content


def _mistaken(path: Path) -> str | None:
    """What a file is that often lies where weights should, or None if it is none of these."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the weights: fetch them with `git lfs pull`"
    if start.startswith((b"<!doctype", b"<html")):
        return "is a web page, not the weights: download the file that the page offers"
    return None


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
    known = isinstance(metadata, dict) and "network" in metadata
    return f"The file was made with network_g {content['metadata']['network']}. " if known else ""


def fit(network: nn.Module, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Compares weights with those of a network.

    Args:
        network: The network.
        weights: A state dict.

    Returns:
        The weights that fit the network, and what does not, in words: nothing if they are the network's own.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    resized = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    fitting = {name: value for name, value in weights.items() if name in own and name not in resized}
    sizes = [f"{name} is {tuple(weights[name].shape)}, not {tuple(own[name].shape)}" for name in resized]
    faults = [("missing", missing), ("not in the network", unknown), ("of another size", sizes)]
    return fitting, [f"{counted(len(names), 'weight')} {fault} ({some(names)})" for fault, names in faults if names]


def network_metadata(network_g: Mapping[str, Any], scale: int, iteration: int | None) -> dict[str, Any]:
    """What a later program needs to build the network that a file's weights belong to.

    Args:
        network_g: The option section: the type and the arguments given.
        scale: Enlargement.
        iteration: Iterations trained; None: not known.

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
