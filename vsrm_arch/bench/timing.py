"""Times of several cases, taken in turns, so that a clock or a neighbour that changes meets all of them alike."""

import gc
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from vsrm_arch.graphs import CudaRecorder
from vsrm_arch.inference.memory import is_out_of_memory

__all__ = ["Case", "Measurement", "Run", "Spread", "gib", "measure", "milliseconds", "reason", "times"]

_logger = logging.getLogger("basicsr.vsrm_arch")

Run = Callable[[], Any]

# A sample lasts this long at least: what is shorter runs several times in a row, so that launches hide behind work.
_SHORTEST_SAMPLE_MS = 10.0
_MOST_CALLS = 1000


class Case(Protocol):
    """Something to be timed."""

    @property
    def label(self) -> str:
        """What to call it in the log."""

    @property
    def replayed(self) -> bool:
        """Whether a GPU replays a recorded run, so that the time of launching what is short is left out."""

    def prepare(self) -> Run:
        """Makes everything that is needed and returns what is timed. Whoever drops that, drops everything."""

    def check(self, output: Any) -> None:
        """Raises a ValueError if what a run has returned is wrong."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some samples."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Of at least one sample; quartiles are interpolated between neighbours."""
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, lower, upper)


def times(samples: Sequence[float]) -> dict[str, Any]:
    """The figures of a row: ``ms``, ``ms_lower``, ``ms_upper``, which are None without samples, and ``samples``."""
    spread = Spread.of(samples) if samples else None
    return {
        "ms": spread and spread.median,
        "ms_lower": spread and spread.lower,
        "ms_upper": spread and spread.upper,
        "samples": tuple(samples),
    }


@dataclass
class Measurement:
    """What was found about a case.

    Attributes:
        samples: Milliseconds of a run, a sample for each round; empty after a failure.
        first_peak: The most bytes of GPU memory, inputs and weights included, that the first run held: it may try out
            algorithms and capture graphs. None on other devices.
        peak: Likewise, of the runs after it.
        failure: Why there are no samples; None if there are.
    """

    samples: list[float] = field(default_factory=list)
    first_peak: int | None = None
    peak: int | None = None
    failure: str | None = None


def measure(cases: Sequence[Case], device: torch.device, repeats: int, warmup: int) -> list[Measurement]:
    """Checks and warms up each case by itself, then times all of them in turns.

    A case that fails, for want of memory or otherwise, is left out from then on.

    Args:
        cases: What to time.
        device: Where it runs.
        repeats: Rounds, at least 1; each takes one sample of every case.
        warmup: Runs of each case before the first round, after the one that is checked.

    Returns:
        A measurement for each case.
    """
    # What others have left in the cache would be handed out in blocks of its own sizes.
    _free(device)
    found = [Measurement() for _ in cases]
    running: dict[int, tuple[Run, int]] = {}
    for i, case in enumerate(cases):
        _logger.info("%s: check and warm-up", case.label)
        with _recorded(case, found[i]):
            running[i] = _start(case, found[i], device, warmup)
        _free(device)
    _logger.info("timing: %d rounds", repeats)
    for _ in range(repeats):
        for i in list(running):
            with _recorded(cases[i], found[i]):
                found[i].samples.append(milliseconds(*running[i], device))
            if found[i].failure is not None:
                del running[i]
                _free(device)
    running.clear()
    _free(device)
    return found


def milliseconds(run: Run, calls: int, device: torch.device) -> float:
    """Milliseconds of a run, of ``calls`` in a row; the device has nothing else to do before and after them."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) * 1e3 / calls
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(calls):
        run()
    last.record()
    torch.cuda.synchronize(device)
    return float(first.elapsed_time(last)) / calls


def gib(size: int | None) -> float | None:
    """Bytes as GiB."""
    return None if size is None else size / 2**30


def reason(error: Exception) -> str:
    """Why a case failed, in one line."""
    if is_out_of_memory(error):
        return "out of memory"
    lines = str(error).strip().splitlines()
    return f"failed: {lines[0] if lines else type(error).__name__}"


def _start(case: Case, measurement: Measurement, device: torch.device, warmup: int) -> tuple[Run, int]:
    """Prepares, checks and warms up; returns what to run and how many times a sample."""
    on_gpu = device.type == "cuda"
    # What other cases hold is not this one's.
    held = torch.cuda.memory_allocated(device) if on_gpu else 0

    def peak() -> int | None:
        if not on_gpu:
            return None
        torch.cuda.synchronize(device)
        most = torch.cuda.max_memory_allocated(device) - held
        torch.cuda.reset_peak_memory_stats(device)
        return most

    peak()
    run = case.prepare()
    case.check(run())
    measurement.first_peak = peak()
    for _ in range(warmup):
        run()
    once = milliseconds(run, 1, device)
    measurement.peak = peak()
    if on_gpu and case.replayed:
        run = _replaying(run)
        run()
        once = milliseconds(run, 1, device)
    return run, max(1, min(_MOST_CALLS, math.ceil(_SHORTEST_SAMPLE_MS / max(once, 1e-6))))


def _replaying(run: Run) -> Run:
    """The replay of a run; keeps the run, whose inputs the recording reads where they lie."""
    replay, output = CudaRecorder().record(run)
    kept = (run, output)

    def again() -> Any:
        replay()
        return kept[1]

    return again


@contextmanager
def _recorded(case: Case, measurement: Measurement) -> Iterator[None]:
    """Takes down a failure."""
    try:
        yield
    except Exception as error:
        measurement.samples.clear()
        measurement.failure = reason(error)
        _logger.warning("%s: %s", case.label, measurement.failure)


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
