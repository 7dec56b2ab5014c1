from dataclasses import replace

import pytest
import torch

from vsrm_arch.bench import timing
from vsrm_arch.bench.ops import OpCase, bench_ops
from vsrm_arch.bench.workloads import WORKLOADS
from vsrm_arch.errors import UserError
from vsrm_arch.ops import describe_backends

CPU = torch.device("cpu")
SHORT = {"device": CPU, "repeats": 2, "warmup": 0}
SHAPES = {"selective_scan": (2, 6, 4, 3), "cross_scan": (5, 3, 4, 2), "causal_conv1d": (2, 6, 4, 3)}
SHAPES |= {"gated_conv3d": (2, 3, 4, 5), "encoded_sample": (3, 4, 2, 6)}
SHAPES |= {"norm_linear": (6, 4, 8), "gated_linear": (6, 4, 8)}
# Elements: tokens in the dtype, parameters in float32, output, exponentials.
BY_HAND = {
    "selective_scan": (2 * 6 * (4 + 4 + 3 + 3), 4 * 3 + 4 + 4, 2 * 6 * 4, 2 * 6 * 4 * 3),
    "cross_scan": (5 * (3 * 4 + 3 * 4 + 3 * 2 + 2), 4 * 2 + 4 + 4, 5 * 4, 5 * 2 * 4 * 2),
    "causal_conv1d": (2 * 6 * 4, 4 * 3 + 4, 2 * 6 * 4, 2 * 6 * 4),
    "gated_conv3d": (2 * 2 * 3 * 4 * 5, 2 * (5 * 27 + 5), 2 * 3 * 4 * 5, 2 * 3 * 4 * 5),
    "norm_linear": (6 * 4 + 8 * 4 + 2 * 4, 0, 6 * 8, 0),
    "gated_linear": (3 * 6 * 4 + 6 * 8 + 8 * 4, 0, 6 * 8, 6 * 4),
    "encoded_sample": (3 * 4 * 6, 2 * 3 * 4 * 2 * 2, 3 * 4 * 2 * 6, 3 * 4 * 2 * 6),
}


@pytest.fixture(autouse=True)
def _a_run_a_sample(monkeypatch):
    monkeypatch.setattr(timing, "_SHORTEST_SAMPLE_MS", 0.0)


def test_every_op_has_a_workload():
    assert set(WORKLOADS) == {info.op for info in describe_backends(["cpu"])}


@pytest.mark.parametrize("op", SHAPES)
@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bf16", 2)])
def test_figures_by_hand(op, dtype, size, ceilings):
    names = [name for name in ("portable", "naive") if name in WORKLOADS[op].backends.names]
    rows = bench_ops([op], SHAPES[op], [dtype], ceilings, backends=names, **SHORT)
    assert [(row.mode, row.backend) for row in rows] == [
        (mode, name) for mode in ("forward", "forward + backward") for name in names
    ]
    tokens, parameters, output, exponentials = BY_HAND[op]
    read, written = tokens * size + parameters * 4, output * size
    for row in rows:
        backward = row.mode != "forward"
        moved = 3 * read + 2 * written if backward else read + written
        assert (row.status, len(row.samples), row.dtype) == ("ok", 2, dtype)
        assert row.gigabytes == pytest.approx(moved * 1e-9)
        assert row.bandwidth_share == pytest.approx(moved / (row.ms * 1e-3) / 1e9)
        assert row.gigaexp_per_second == pytest.approx((1 + backward) * exponentials / (row.ms * 1e-3) * 1e-9)


def test_speed_up_over_the_reference(ceilings):
    names = ["portable", "naive"]
    for reference, expected in ((None, "portable"), ("naive", "naive")):
        rows = bench_ops(
            ["cross_scan"], (5, 3, 4, 2), ["float32"], ceilings, backends=names, reference=reference, **SHORT
        )
        of = {(row.mode, row.backend): row for row in rows}
        for (mode, _), row in of.items():
            assert row.reference == expected
            assert row.speedup == pytest.approx(of[mode, expected].ms / row.ms)


def test_the_definition_is_left_out_unless_asked_for(ceilings):
    rows = bench_ops(["selective_scan"], (1, 4, 2, 2), ["float32"], ceilings, **SHORT)
    assert {row.backend for row in rows} == {"portable"}


def test_mamba_ssm_gets_its_tokens_channels_first(monkeypatch):
    seen = {}
    workload = replace(WORKLOADS["selective_scan"], op=lambda **inputs: seen.update(inputs) or inputs["u"])
    monkeypatch.setitem(WORKLOADS, "selective_scan", workload)
    for backend, strides in (("portable", (12, 3, 1)), ("mamba_ssm", (12, 1, 4))):
        OpCase("selective_scan", (1, 4, 3, 3), "float32", backend, False, CPU).prepare()()
        assert {seen[name].stride() for name in ("u", "delta", "B", "C")} == {strides}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_backend_that_cannot_run_has_a_row_that_says_so(ceilings):
    names = ["mamba_ssm", "portable"]
    rows = bench_ops(["selective_scan"], (1, 4, 2, 2), ["float32"], ceilings, backends=names, **SHORT)
    assert rows[0].status.startswith("failed: selective_scan: the argument backend asks for backend 'mamba_ssm', but")
    assert (rows[0].ms, rows[0].speedup, rows[1].status, rows[1].reference) == (None, None, "ok", "portable")


def test_an_unknown_backend(ceilings):
    message = "--backend portabel: cross_scan has no such backend; did you mean 'portable'"
    with pytest.raises(UserError, match=message):
        bench_ops(["cross_scan"], None, ["float32"], ceilings, backends=["portabel"], **SHORT)


def test_an_output_that_is_not_finite(ceilings, monkeypatch):
    inputs = WORKLOADS["causal_conv1d"].inputs

    def poisoned(*args):
        made = inputs(*args)
        return made | {"x": made["x"] * float("nan")}

    monkeypatch.setitem(
        WORKLOADS,
        "causal_conv1d",
        WORKLOADS["causal_conv1d"].__class__(**{**WORKLOADS["causal_conv1d"].__dict__, "inputs": poisoned}),
    )
    rows = bench_ops(["causal_conv1d"], (1, 4, 2, 2), ["float32"], ceilings, **SHORT)
    assert {row.status for row in rows} == {"failed: the output or a gradient is not finite"}
