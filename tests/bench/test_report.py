import csv
import dataclasses
import json

import pytest

from vsrm_arch.bench.networks import NetworkRow
from vsrm_arch.bench.ops import OpRow
from vsrm_arch.bench.report import complexity_table, markdown, network_table, op_table, write_csv, write_json

NETWORK = NetworkRow(
    network="VSRM", mode="forward", size="64x64", dtype="bf16", batch=1, frames=16, status="ok",
    ms=12.345, ms_lower=12.0, ms_upper=13.0, parameters=17_076_281, peak_gib=1.234, first_peak_gib=1.5,
    gmac=219.09, scan_gop=71.35, needed_gmac=204.38, matrix_share=0.0512, samples=(12.0, 12.345, 13.0),
)  # fmt: skip
FAILED = dataclasses.replace(
    NETWORK, size="180x320", status="out of memory", ms=None, ms_lower=None, ms_upper=None, peak_gib=None,
    first_peak_gib=None, gmac=None, scan_gop=None, needed_gmac=None, matrix_share=None, samples=(),
)  # fmt: skip
OP = OpRow(
    op="cross_scan", mode="forward", shape="5x9x4x2", dtype="bf16", backend="portable", status="ok",
    ms=0.5, ms_lower=0.4, ms_upper=0.6, speedup=2.0, reference="mamba_ssm", peak_gib=None, first_peak_gib=None,
    gigabytes=0.25, bandwidth_share=0.5, gigaexp_per_second=12.3456, samples=(0.4, 0.5, 0.6),
)  # fmt: skip
ENVIRONMENT = {"device": "a card, and more", "command": "basicsr bench -opt 'a b.yml'"}


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_network_table():
    head, rule, ok, failed = cells(network_table([NETWORK, FAILED]))
    assert head[:5] == ["network", "size", "dtype", "ms a frame", "peak GiB"]
    assert [mark.endswith(":") for mark in rule] == [False] * 3 + [True] * 6
    assert ok == ["VSRM", "64x64", "bf16", "12.35 (12-13)", "1.23", "5.1%", "219.1", "71.35", "17,076,281"]
    assert failed == ["VSRM", "180x320", "bf16", "out of memory", "-", "-", "-", "-", "17,076,281"]
    assert len({len(line) for line in network_table([NETWORK, FAILED]).splitlines()}) == 1


def test_no_scan_and_no_times():
    counted = dataclasses.replace(FAILED, status="ok", gmac=177.76, scan_gop=0.0)
    assert cells(network_table([counted]))[2][7] == "-"
    head, _, row = cells(complexity_table([counted]))
    assert head[2:6] == ["parameters", "GMAC", "scan, Gop", "paper: parameters (M)"]
    assert row[2:6] == ["17,076,281", "177.76", "-", "17.1"]
    head, _, timed, failed = cells(complexity_table([NETWORK, FAILED]))
    assert head[5:7] == ["ms a frame", "peak GiB"]
    assert timed[4:7] == ["71.35", "12.35 (12-13)", "1.23"]
    assert failed[4:7] == ["-", "out of memory", "-"]


def test_the_table_of_training_steps_says_so():
    assert "ms a step" in network_table([dataclasses.replace(NETWORK, mode="train")])


def test_op_table():
    _, _, row = cells(op_table([OP]))
    assert row == [
        "cross_scan", "5x9x4x2", "forward", "bf16", "portable", "0.5 (0.4-0.6)", "2.00 x mamba_ssm", "-", "0.25",
        "50.0%", "12.35",
    ]  # fmt: skip


def test_what_stands_beside_a_table(ceilings):
    text = markdown("| a |", "Ten rounds.", ENVIRONMENT, ceilings)
    assert text.startswith("| a |\n\nTen rounds.\nMeasured ceilings: copy 1 GB/s; matrix product float32 1 TFLOP/s, ")
    assert "- command: basicsr bench -opt 'a b.yml'\n" in text


@pytest.mark.parametrize("rows", [[NETWORK, FAILED], [OP]])
def test_json_round_trip(tmp_path, rows, ceilings):
    write_json(tmp_path / "a.json", rows, ENVIRONMENT, ceilings)
    read = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert read["environment"] == ENVIRONMENT
    assert read["ceilings"] == dataclasses.asdict(ceilings)
    assert [type(rows[0])(**row | {"samples": tuple(row["samples"])}) for row in read["rows"]] == rows


@pytest.mark.parametrize("rows", [[NETWORK, FAILED], [OP]])
def test_csv_round_trip(tmp_path, rows, ceilings):
    write_csv(tmp_path / "a.csv", rows, ENVIRONMENT, ceilings)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert {key: line[key] for key in ENVIRONMENT} == ENVIRONMENT
        assert float(line["ceiling_flops_per_second"]) == ceilings.flops_per_second["bf16"]
        assert tuple(map(float, line["samples"].split())) == row.samples
        for name, value in dataclasses.asdict(row).items():
            if name != "samples":
                assert line[name] == ("" if value is None else str(value))
