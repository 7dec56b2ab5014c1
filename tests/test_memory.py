import os
import platform
import subprocess
import sys

import pytest

# Pages that are mapped while 16 MiB come and go, after the first time.
SCRIPT = """
import resource, sys
import torch
from vsrm_arch.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        a, b = torch.ones(2 << 20), torch.ones(2 << 20)
        del a, b
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(how, **environment):
    env = {**{k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}, **environment}
    command = [sys.executable, "-c", SCRIPT, how]
    return int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_kept():
    pages = 8 * 16 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    small = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
    assert faults("keep") < pages / 20
    # What the environment says counts.
    assert faults("keep", **small) > pages / 2


@pytest.mark.parametrize("name", ["mallopt", "platform"])
def test_elsewhere_nothing_happens(monkeypatch, name):
    from vsrm_arch import memory

    if name == "platform":
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: pytest.fail("no C library to ask"))
    else:
        monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    memory.keep_freed_memory()
