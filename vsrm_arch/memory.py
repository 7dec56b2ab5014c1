"""How the process keeps its memory."""

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

# Numbers of glibc's mallopt; 32 MiB is the largest threshold that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD, _NEVER = 32 * 2**20, 2**31 - 1
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Keeps freed memory for the tensors to come, where the C library is glibc; elsewhere nothing changes.

    glibc hands blocks of more than some 100 KB back to the system as soon as they are free, so the next tensor of this
    size has every page mapped and zeroed again, which a small network on a CPU spends much of its time on. It
    is for processes that run networks, as ours do, and left as it is where the environment says otherwise.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _SET_BY_USER):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _NEVER)
