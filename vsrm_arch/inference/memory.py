"""Memory that is free, and memory that a network takes."""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from vsrm_arch.errors import UserError

__all__ = ["Peak", "free_memory", "is_out_of_memory", "parse_bytes", "peak_memory"]

# Limits of containers: folder, file of the limit, file of what is used.
_CGROUP_FILES = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take.

    Args:
        device: A GPU, or the CPU: then what the system, or a container's limit, leaves.

    Raises:
        UserError: If that cannot be found out on this system.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    available = _available_to_the_system()
    for folder, limit, used in _CGROUP_FILES:
        with suppress(OSError, ValueError):
            available = min(
                available, int(Path(folder, limit).read_text("ascii")) - int(Path(folder, used).read_text("ascii"))
            )
    return available


def _available_to_the_system() -> int:
    with suppress(OSError):
        line = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
        if line:
            return int(line[1]) * 1024
    try:
        import psutil
    except ImportError:
        raise UserError(
            'finding out how much memory is free needs psutil here: pip install "vsrm-arch[video]", or say how much '
            "to use with --memory"
        ) from None
    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out; the CPU's allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def parse_bytes(text: str) -> int:
    """Reads a size such as ``6G``, ``1.5GiB`` or ``800M``: multiples of 1024.

    Raises:
        ValueError: If it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found or not float(found[1]):
        raise ValueError(f"{text}: expected a size such as 6G or 800M")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper()))


@dataclass
class Peak:
    """The most memory that tensors held at once.

    Attributes:
        bytes: Beyond what they held before; known when the block has ended.
    """

    bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measures what tensors made within a block hold at most.

    On a GPU the allocator knows. On the CPU the tensors are counted as the operations make them; what a library holds
    within one operation is not seen.

    Args:
        device: Where they are.
    """
    peak = Peak()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        torch.cuda.synchronize(device)
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    with _Counting() as counting:
        yield peak
    peak.bytes = counting.most


class _Counting(TorchDispatchMode):
    """Adds up the storages that operations make, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        for leaf in tree_leaves(result):
            if not _is_tensor(leaf):
                continue
            storage = leaf.untyped_storage()
            if storage not in self._known and storage.data_ptr() not in given:
                self._known[storage] = _Released(self, storage.nbytes())
        return result


class _Released:
    """Counts a storage until it is dropped with it from the table."""

    def __init__(self, counting: _Counting, size: int) -> None:
        self._counting, self._size = counting, size
        counting._now += size
        counting.most = max(counting.most, counting._now)

    def __del__(self) -> None:
        self._counting._now -= self._size


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided
