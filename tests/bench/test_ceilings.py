import torch

from vsrm_arch.bench import ceilings
from vsrm_arch.bench.ceilings import measure_ceilings


def test_counts_bytes_both_ways_and_two_operations_a_multiply_add(monkeypatch):
    monkeypatch.setattr(ceilings, "_COPY_BYTES", {"cpu": 1000})
    monkeypatch.setattr(ceilings, "_MATRIX_SIDE", {"cpu": 10})
    times = iter([4.0, 2.0, 3.0, 8.0, 4.0, 9.0, 5.0, 1.0, 7.0])
    monkeypatch.setattr(ceilings, "_REPEATS", {"cpu": 3})
    monkeypatch.setattr(ceilings, "milliseconds", lambda run, calls, device: run() is None or next(times))
    found = measure_ceilings(torch.device("cpu"), ["float32", "bf16", "float32"])
    assert found.flops_per_second == {"float32": 2 * 10**3 / 2e-3, "bf16": 2 * 10**3 / 4e-3}
    assert found.bytes_per_second == 2 * 1000 / 1e-3


def test_of_this_machine():
    found = measure_ceilings(torch.device("cpu"), ["float32"])
    assert 1e8 < found.bytes_per_second < 1e13
    assert 1e8 < found.flops_per_second["float32"] < 1e14
