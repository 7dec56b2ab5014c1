import gc
import weakref

import pytest
import torch

from vsrm_arch.bench import timing
from vsrm_arch.bench.timing import Spread, measure, milliseconds, reason

CPU = torch.device("cpu")


class Recorder:
    """A case that writes down what happens to it."""

    replayed = False

    def __init__(self, label, events, fails_at=None):
        self.label, self.events, self.fails_at, self.runs = label, events, fails_at, 0

    def prepare(self):
        self.events.append(f"{self.label} prepare")
        return self.run

    def run(self):
        self.runs += 1
        if self.runs == self.fails_at:
            raise RuntimeError("broken\nmore")
        self.events.append(self.label)
        return self.runs

    def check(self, output):
        self.events.append(f"{self.label} check {output}")


@pytest.fixture(autouse=True)
def _a_run_a_sample(monkeypatch):
    monkeypatch.setattr(timing, "_SHORTEST_SAMPLE_MS", 0.0)


class TestSpread:
    @pytest.mark.parametrize(
        ("samples", "expected"),
        [
            ([3.0], (3.0, 3.0, 3.0)),
            ([1.0, 2.0], (1.5, 1.25, 1.75)),
            ([5.0, 1.0, 4.0, 2.0, 3.0], (3.0, 2.0, 4.0)),
            ([1.0, 1.0, 1.0, 100.0], (1.0, 1.0, 25.75)),
        ],
    )
    def test_by_hand(self, samples, expected):
        spread = Spread.of(samples)
        assert (spread.median, spread.lower, spread.upper) == expected


class TestMeasure:
    def test_warms_up_alone_and_then_takes_turns(self):
        events = []
        found = measure([Recorder("a", events), Recorder("b", events)], CPU, repeats=3, warmup=2)
        # The run after the warm-up tells how many make a sample.
        starts = [[f"{name} prepare", name, f"{name} check 1", name, name, name] for name in "ab"]
        assert events == [*starts[0], *starts[1], "a", "b", "a", "b", "a", "b"]
        assert [len(m.samples) for m in found] == [3, 3]
        assert [(m.failure, m.peak, m.first_peak) for m in found] == [(None, None, None)] * 2

    @pytest.mark.parametrize("fails_at", [1, 3, 6])
    def test_a_failure_leaves_the_others_alone(self, fails_at):
        events = []
        cases = [Recorder("a", events), Recorder("b", events, fails_at), Recorder("c", events)]
        found = measure(cases, CPU, repeats=3, warmup=1)
        assert [len(m.samples) for m in found] == [3, 0, 3]
        assert [m.failure for m in found] == [None, "failed: broken", None]

    def test_a_failure_lets_go_of_everything(self):
        class Holder(Recorder):
            def prepare(self):
                weights = torch.zeros(3)
                kept.append(weakref.ref(weights))
                return lambda: (self.run(), weights)

        kept = []
        states = []
        late = Recorder("late", [])
        late.check = lambda output: states.append(kept[0]() is None)
        measure([Holder("a", [], fails_at=1), late], CPU, repeats=1, warmup=0)
        assert states == [True]
        gc.collect()
        assert kept[0]() is None

    def test_short_runs_are_repeated_within_a_sample(self, monkeypatch):
        monkeypatch.setattr(timing, "_SHORTEST_SAMPLE_MS", 10.0)
        taken = []
        monkeypatch.setattr(timing, "milliseconds", lambda run, calls, device: taken.append(calls) or 3.0)
        measure([Recorder("a", [])], CPU, repeats=2, warmup=0)
        assert taken == [1, 4, 4]

    @pytest.mark.gpu
    def test_the_peak_is_of_the_case_alone(self):
        class Allocates(Recorder):
            def prepare(self):
                weights = torch.zeros(size, dtype=torch.uint8, device="cuda")
                return lambda: weights + weights

        size = 2**24
        found = measure([Allocates("a", []), Allocates("b", [])], torch.device("cuda"), repeats=1, warmup=1)
        assert all(2 * size <= m.first_peak < 2.1 * size for m in found)
        assert all(2 * size <= m.peak <= 3 * size for m in found)

    @pytest.mark.gpu
    def test_what_a_recording_reads_stays(self):
        class Reads(Recorder):
            replayed = True

            def prepare(self):
                source = torch.ones(2**20, device="cuda")
                sources.append(weakref.ref(source))
                return lambda: source + 1

            def check(self, output):
                pass

        sources = []
        alive = []
        real = timing.milliseconds
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(timing, "milliseconds", lambda *a: alive.append(sources[0]() is not None) or real(*a))
            measure([Reads("a", [])], torch.device("cuda"), repeats=2, warmup=0)
        assert alive == [True] * 4

    @pytest.mark.gpu
    def test_a_gpu_replays_what_was_recorded(self):
        class Replayed(Recorder):
            replayed = True

            def prepare(self):
                def run():
                    self.run()
                    total.add_(1)

                return run

            def check(self, output):
                assert total == 1

        total = torch.zeros((), device="cuda")
        case = Replayed("a", [])
        found = measure([case], torch.device("cuda"), repeats=3, warmup=1)
        assert (len(found[0].samples), found[0].failure) == (3, None)
        # The check, the warm-up, its time, and what recording takes: one run and the recorded one, which does nothing.
        assert case.runs == 5
        assert total == 4 + 2 + 3


def test_milliseconds_of_one_of_several_calls():
    calls = []
    elapsed = milliseconds(lambda: calls.append(0), 5, CPU)
    assert len(calls) == 5
    assert 0 < elapsed < 100


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nmore"), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (AssertionError(), "failed: AssertionError"),
        (RuntimeError("first\nsecond"), "failed: first"),
    ],
)
def test_reason(error, expected):
    assert reason(error) == expected
