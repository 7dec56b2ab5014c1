"""The networks of option files."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basicsr.archs import build_network
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vsrm_arch.bench.published import published_count
from vsrm_arch.config import OptionError, check_arguments, load_yaml
from vsrm_arch.config.sections import registered

__all__ = ["NetworkFile", "check_count", "read_networks"]

_logger = logging.getLogger("basicsr.vsrm_arch")


@dataclass(frozen=True)
class NetworkFile:
    """The network of an option file.

    Attributes:
        name: The file's name without its suffix; its path, if another file has the same name.
        options: ``network_g``, but for the weights that it names: they do not change the speed, and need not be there.
        scale: Enlargement.
        compiled: Whether the file trains through ``torch.compile``.
    """

    name: str
    options: dict[str, Any]
    scale: int
    compiled: bool

    @classmethod
    def of(cls, name: str, section: Mapping[str, Any], scale: int = 4, compiled: bool = False) -> "NetworkFile":
        """The network of a section ``network_g``."""
        options = {key: None if key.endswith("_path") else value for key, value in section.items()}
        return cls(name, options, scale, compiled)

    def build(self) -> nn.Module:
        """The network with random weights."""
        with _without_warnings():
            network: nn.Module = build_network(self.options)
        return network

    def count_parameters(self) -> int:
        """The number of its parameters; takes no memory."""
        with FakeTensorMode():
            return sum(parameter.numel() for parameter in self.build().parameters())


def read_networks(paths: Sequence[str]) -> list[NetworkFile]:
    """Reads ``network_g`` of option files; their other sections need not be complete.

    Raises:
        OptionError: If a file or its network is not what it should be.
    """
    stems = [Path(path).stem for path in paths]
    names = [stem if stems.count(stem) == 1 else path for path, stem in zip(paths, stems, strict=True)]
    return [_read_network(path, name) for path, name in zip(paths, names, strict=True)]


def check_count(file: NetworkFile) -> None:
    """Warns of a network that has the arguments of a published one, but another number of parameters."""
    expected = published_count(file.options)
    if expected is None:
        return
    count = file.count_parameters()
    if count != expected:
        _logger.warning(
            "%s: %s has %s parameters here, as published %s: it is another network, and figures of it are not those "
            "of the published one",
            *(file.name, file.options["type"], f"{count:,}", f"{expected:,}"),
        )


def _read_network(path: str, name: str) -> NetworkFile:
    options = load_yaml(path)
    section, train, scale = options.get("network_g"), options.get("train"), options.get("scale", 4)
    if not isinstance(section, dict) or "type" not in section:
        raise OptionError(f"{path}: network_g: missing, or without a type; name a registered network there")
    if type(scale) is not int or scale < 1:
        raise OptionError(f"{path}: scale: expected an integer from 1, got {scale!r}")
    arguments = {key: value for key, value in section.items() if key != "type"}
    entry = registered("arch", section["type"], f"{path}: network_g.type")
    check_arguments(entry, arguments, f"{path}: network_g")
    return NetworkFile.of(name, section, scale, isinstance(train, dict) and bool(train.get("compile")))


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Networks warn of a flow network without weights."""
    level = _logger.level
    _logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _logger.setLevel(level)
