import re

import pytest
import torch

from vsrm_arch.inference.memory import free_memory, is_out_of_memory, parse_bytes, peak_memory

CPU = torch.device("cpu")


def test_peak_is_what_lives_at_once():
    before = torch.zeros(10_000)
    with peak_memory(CPU) as peak:
        first = before[:1000] + 1  # 4000 bytes
        second = first.double()  # 8000 more: 12000
        del first
        third = torch.zeros(500)  # 8000 + 2000
    assert peak.bytes == 12_000
    del second, third


def test_views_and_in_place_operations_take_nothing():
    with peak_memory(CPU) as peak:
        clip = torch.ones(100)
        clip.add_(1).view(10, 10).t().mul_(2)
    assert peak.bytes == 400


def test_what_is_left_adds_up():
    with peak_memory(CPU) as peak:
        kept = [torch.zeros(25) for _ in range(7)]
    assert peak.bytes == 700
    del kept


def test_some_memory_is_free():
    assert free_memory(CPU) > 2**20


def test_a_limit_of_a_container_counts(tmp_path, monkeypatch):
    from vsrm_arch.inference import memory

    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    monkeypatch.setattr(memory, "_CGROUP_FILES", ((tmp_path, "memory.max", "memory.current"),))
    assert free_memory(CPU) == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(CPU) > 2**20


@pytest.mark.parametrize(
    ("text", "size"),
    [("6G", 6 * 2**30), ("1.5GiB", 3 * 2**29), ("800M", 800 * 2**20), ("2 kB", 2048), ("1t", 2**40)],
)
def test_sizes_are_read(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "0", "6", "-1G", "0G", "6X", "six"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}: expected a size such as 6G or 800M$"):
        parse_bytes(text)


def test_errors_of_memory_are_told_from_others():
    message = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
