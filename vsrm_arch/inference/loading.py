"""Ready networks from files of weights, which say themselves what network they belong to, and such files."""

import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vsrm_arch.config import OptionError, check_arguments
from vsrm_arch.config.sections import registered
from vsrm_arch.config.trial import silence, try_to_build
from vsrm_arch.errors import UserError, first_line
from vsrm_arch.files import atomic_write, remedy
from vsrm_arch.inference.hub import fetch, is_hub_path
from vsrm_arch.sizes import SizeRequirements, size_requirements
from vsrm_arch.weights import METADATA_KEY, fit, network_metadata, read
from vsrm_arch.wording import some

__all__ = ["SUFFIXES", "LoadedNetwork", "load", "save"]

SUFFIXES = (".pth", ".pt", ".safetensors")

_SAMPLE = "sample"
_SAMPLE_FILE = Path(__file__).with_name("sample_weights.pth")

_logger = logging.getLogger("basicsr.vsrm_arch")


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that is ready to run.

    Attributes:
        network: ``(B, T, 3, H, W) -> (B, T, 3, scale·H, scale·W)``, RGB in [0, 1]; in eval mode, without gradients.
        scale: Enlargement.
        requirements: Frame sizes that it takes.
        options: Its ``network_g``: the type and the arguments, without paths.
        name: Its type, "VSRM" for example.
        source: What it was loaded from, as given.
        iteration: Iterations that it was trained for; None: not known.
        demonstration: Whether it is the built-in sample's, which shows that everything works and little more.
    """

    network: nn.Module
    scale: int
    requirements: SizeRequirements
    options: dict[str, Any]
    name: str
    source: str
    iteration: int | None
    demonstration: bool


def load(
    path_or_name: str | Path, network: Mapping[str, Any] | None = None, *, device: torch.device | str | None = None
) -> LoadedNetwork:
    """Loads weights and builds the network that they belong to.

    Nothing in a file is executed, and no path in it is followed. Of the weights, ``params_ema`` are taken, else
    ``params``, else the file itself is a state dict.

    Args:
        path_or_name: A .pth, .pt or .safetensors file; "sample", the demonstration weights that ship with the package;
            or, with the extra ``hub``, a path on the Hugging Face Hub: ``USER/REPOSITORY``, whose
            ``model.safetensors`` is meant, or ``USER/REPOSITORY/FILE.safetensors``, with ``@REVISION`` after the
            repository and ``hf://`` before it if you like.
        network: The ``network_g`` of a file without metadata: published weights of other projects. Where a file says
            itself what it belongs to, that counts.
        device: Where to put the network; None: the CPU.

    Returns:
        The network and what is known of it.

    Raises:
        UserError: If there is no such file or repository, it is damaged, or its weights do not fit its network.

    Example:
        >>> sample = load("sample")
        >>> sample.network(torch.rand(1, 3, 3, 16, 16)).shape
        torch.Size([1, 3, 3, 64, 64])
    """
    path = _find(path_or_name)
    content = read(path, "weights")
    weights, metadata = _weights(content, path), content.get("metadata")
    if not isinstance(metadata, dict) or "network" not in metadata:
        metadata = {}
    section, where = _section(metadata, network, path)
    built, options = _build(section, where)
    fitting, faults = fit(built, weights)
    if faults:
        raise UserError(
            f"weights: {path} does not fit the network {options['type']}: {'; '.join(faults)}. "
            f"{'Another version may have made it' if metadata else 'Give the network_g that it was trained with'}"
        )
    try:
        built.load_state_dict(fitting)
    except RuntimeError as error:  # tensors of a kind that cannot be copied
        raise UserError(f"weights: {path}: {first_line(error)[:160]}; make the file anew") from error
    return LoadedNetwork(
        built.eval().requires_grad_(False).to(device),
        _scale(metadata, built, options, path),
        size_requirements(built),
        options,
        options["type"],
        str(path_or_name),
        _whole(metadata.get("iteration"), 0),
        path_or_name == _SAMPLE,
    )


def save(
    path: str | Path,
    network: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    scale: int,
    iteration: int | None = None,
) -> None:
    """Writes weights together with what network they belong to, for :func:`load`: whole, or not at all.

    Args:
        path: The file, in a folder that exists. ``.pth`` and ``.pt`` are laid out as BasicSR's: ``params`` and
            ``metadata``. ``.safetensors`` (extra ``hub``) holds the metadata as JSON under the key ``vsrm_arch`` of
            its header.
        network: The ``network_g``: a registered type and its arguments.
        weights: The network's state dict.
        scale: Enlargement.
        iteration: Iterations trained; None: not known.

    Raises:
        UserError: If the file cannot be written, or ``network`` is not registered.
    """
    path = Path(path).expanduser()
    _check_suffix(path)
    metadata = network_metadata(_checked(network, "network")[1], scale, iteration)
    # A .safetensors file takes neither strided nor shared memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    if path.suffix.lower() == ".safetensors":
        content = _as_safetensors(tensors, metadata, path)
    else:
        buffer = io.BytesIO()
        torch.save({"params": tensors, "metadata": metadata}, buffer)
        content = buffer.getvalue()
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; {remedy(error)}") from error


def _as_safetensors(tensors: dict[str, Tensor], metadata: dict[str, Any], path: Path) -> bytes:
    try:
        from safetensors.torch import save as serialized
    except ImportError:
        raise UserError(f"writing {path} needs safetensors: pip install 'vsrm-arch[hub]'") from None
    return serialized(tensors, {"format": "pt", METADATA_KEY: json.dumps(metadata)})


def _find(path_or_name: str | Path) -> Path:
    """The local file that is meant; one on the Hub is downloaded."""
    if path_or_name == _SAMPLE:
        return _SAMPLE_FILE
    if isinstance(path_or_name, str) and is_hub_path(path_or_name):
        path = fetch(path_or_name)
    else:
        path = Path(path_or_name).expanduser()
    if path.is_dir():
        raise UserError(f"weights: {path} is a folder; name a file in it")
    if not path.suffix and not path.exists():
        raise UserError(
            f"weights: {path} is no file; give one ({', '.join(SUFFIXES)}), a path USER/REPOSITORY on the Hugging Face "
            f"Hub, or '{_SAMPLE}' for the demonstration weights"
        )
    _check_suffix(path)
    return path


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"weights: {path} does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def _weights(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    # Where the file itself is the state dict, it may hold a parameter of that name.
    weights = next((content[key] for key in ("params_ema", "params") if isinstance(content.get(key), dict)), content)
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(
            f"weights: {path} holds no weights, but {some(weights) or 'nothing'}: they are to be under params_ema or "
            "params, or the file itself"
        )
    return {str(name).removeprefix("module."): value for name, value in weights.items()}


def _section(metadata: dict[str, Any], network: Mapping[str, Any] | None, path: Path) -> tuple[Any, str]:
    """The network_g to build, and where it stands, for messages."""
    if not metadata:
        if network is None:
            raise UserError(
                f"weights: {path} does not say which network it belongs to; give its network_g as the argument network "
                "(on the command line: -opt FILE)"
            )
        return network, "network"
    own = metadata["network"]
    given = {} if network is None else {key: v for key, v in network.items() if not key.endswith("path")}
    if isinstance(own, dict) and any(own.get(key) != value for key, value in given.items()):
        _logger.warning("%s says itself which network it belongs to; the one given is another and not used", path)
    return own, f"{path}: metadata.network"


def _checked(section: Any, where: str) -> tuple[Any, dict[str, Any]]:
    """What a network_g names, and the section with arguments as the signature has them, without paths."""
    if not isinstance(section, Mapping) or not isinstance(section.get("type"), str):
        raise OptionError(f"{where}: no section with a type; name a registered network there")
    import basicsr.archs  # noqa: F401  (registers BasicSR's own)

    entry = registered("arch", section["type"], f"{where}.type")
    given = {key: None if str(key).endswith("path") else value for key, value in section.items() if key != "type"}
    return entry, {"type": section["type"], **check_arguments(entry, given, where)}


def _build(section: Any, where: str) -> tuple[nn.Module, dict[str, Any]]:
    entry, options = _checked(section, where)
    arguments = {key: value for key, value in options.items() if key != "type"}
    try_to_build(entry, arguments, where)
    # They warn of a flow network without weights, which are in the file.
    with silence():
        built = entry(**arguments)
    if not isinstance(built, nn.Module):
        raise OptionError(f"{where}.type: {options['type']} is no network")
    return built, options


def _scale(metadata: dict[str, Any], network: nn.Module, options: dict[str, Any], path: Path) -> int:
    if "scale" in metadata:
        scale = _whole(metadata["scale"], 1)
        if scale is None:
            raise UserError(f"weights: {path}: metadata.scale: expected an integer from 1, got {metadata['scale']!r}")
        return scale
    known = (_whole(value, 1) for value in (getattr(network, "scale", None), options.get("scale")))
    return next((scale for scale in known if scale is not None), 4)


def _whole(value: Any, least: int) -> int | None:
    """The value, if it is an integer from ``least``."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= least else None
