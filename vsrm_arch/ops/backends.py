"""Which implementation of an op runs: an argument, else the environment, else the best one for the inputs."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from vsrm_arch.errors import UserError
from vsrm_arch.ops.exporting import is_exporting

__all__ = ["INSTALL_CUDA", "Backend", "BackendInfo", "Backends", "unordered_sums"]

# The remedy wherever a CUDA package is missing: pip alone leaves out a part of the build or fails to compile it.
INSTALL_CUDA = "the README's section Backends says how to install the extra cuda"

logger = logging.getLogger("basicsr.vsrm_arch")

Op = TypeVar("Op", bound=Callable[..., object])


def _always(_: str) -> None:
    """Nothing stands in the way on any device."""


def unordered_sums() -> str | None:
    """Why an implementation with atomic sums cannot run now, or None if it can."""
    if torch.are_deterministic_algorithms_enabled():
        return "the order of its sums changes from run to run: unset the backend, or deterministic algorithms"
    return None


@dataclass(frozen=True)
class Backend(Generic[Op]):
    """One implementation of an op.

    Attributes:
        name: What the argument ``backend`` and the environment call it.
        run: Its function. A module that needs an accelerator's package imports it inside.
        obstacle: Given a device type ("cpu", "cuda", ...), says why it cannot run there, or None if it can.
    """

    name: str
    run: Op
    obstacle: Callable[[str], str | None] = _always


@dataclass(frozen=True)
class BackendInfo:
    """One line of what ``basicsr doctor`` prints about an op's backend.

    Attributes:
        op: Name of the op.
        device_type: "cpu", "cuda", ...: where it would run.
        backend: Name of the backend.
        available: Whether it can run there.
        chosen: Whether it runs there when no argument says otherwise.
        reason: Why it is not available, or why it is chosen; empty if there is nothing to say.
    """

    op: str
    device_type: str
    backend: str
    available: bool
    chosen: bool
    reason: str


class Backends(Generic[Op]):
    """The backends of one op, the best first.

    Args:
        op: Name of the op; the environment variable is ``VSRM_<OP>_BACKEND``.
        backends: In the order of preference. One whose ``obstacle`` is always None must be among them.
    """

    def __init__(self, op: str, backends: Sequence[Backend[Op]]) -> None:
        self.op = op
        self.variable = f"VSRM_{op.upper()}_BACKEND"
        self._backends = {backend.name: backend for backend in backends}
        self._logged: set[tuple[str, str]] = set()
        self._stand_in: Op | None = None
        self._preferred: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The valid names, the best first."""
        return tuple(self._backends)

    def choose(self, requested: str | None, device_type: str, limit: Callable[[str], str | None] = _always) -> Op:
        """The implementation to run.

        Args:
            requested: A backend's name, or None to follow the environment or, failing that, the preference.
            device_type: Of the inputs.
            limit: Given a backend's name, says why it cannot take these inputs, or None if it can.

        Returns:
            The function of the backend.

        Raises:
            UserError: The name is unknown, or the backend that it names cannot run here.
        """
        if self._stand_in is not None:
            return self._stand_in
        name, origin = self._named(requested)
        if name is None:
            backend = next(b for b in self._candidates() if b.obstacle(device_type) is None and limit(b.name) is None)
        else:
            backend = self._backends[name]
            obstacle = backend.obstacle(device_type) or limit(name)
            if obstacle:
                raise UserError(f"{self.op}: {origin} asks for backend {name!r}, but {obstacle}")
        if (backend.name, device_type) not in self._logged:
            self._logged.add((backend.name, device_type))
            logger.info("%s: backend %r on %s (%s)", self.op, backend.name, device_type, origin)
        return backend.run

    @contextmanager
    def replaced(self, stand_in: Op) -> Iterator[None]:
        """Runs ``stand_in`` in place of every backend: something that counts what is asked of the op, for example."""
        self._stand_in = stand_in
        try:
            yield
        finally:
            self._stand_in = None

    @contextmanager
    def preferring(self, name: str) -> Iterator[None]:
        """Runs the backend of this name where no argument asks for another."""
        self._preferred = name
        try:
            yield
        finally:
            self._preferred = None

    def describe(self, device_type: str) -> list[BackendInfo]:
        """What ``basicsr doctor`` prints about this op on one device type."""
        name, origin = self._named(None)
        obstacles = {b.name: b.obstacle(device_type) for b in self._backends.values()}
        chosen = name or next(n for n, obstacle in obstacles.items() if obstacle is None)
        return [
            BackendInfo(
                self.op, device_type, n, obstacle is None, n == chosen, obstacle or (origin if n == chosen else "")
            )
            for n, obstacle in obstacles.items()
        ]

    def _candidates(self) -> Iterator[Backend[Op]]:
        """The backends, the best first; while a program is exported those that are made of PyTorch's own operations."""
        plain = ("portable", "naive") if is_exporting() else self.names
        return (backend for name, backend in self._backends.items() if name in plain)

    def _named(self, requested: str | None) -> tuple[str | None, str]:
        """The name asked for, if any, and who asked."""
        name, origin = requested, "the argument backend"
        if name is None:
            name, origin = self._preferred, "the caller"
        if name is None:
            name, origin = os.environ.get(self.variable) or None, f"the environment variable {self.variable}"
        if name is None:
            return None, "best available"
        if name not in self._backends:
            raise UserError(f"{self.op}: {origin} is {name!r}; the backends are {', '.join(self.names)}")
        return name, origin
