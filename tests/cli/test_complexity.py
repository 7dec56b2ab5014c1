"""``complexity``: the whole command on a CPU, and its errors."""

import csv
import json

import pytest

from vsrm_arch import cli

SHORT = ["--device", "cpu", "--repeats", "1", "--warmup", "0"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A small and the full network in the current folder."""
    monkeypatch.chdir(tmp_path)
    small = "network_g: {type: VSRM, embed_dim: 8, num_damb: 1, num_s2tmb: 1, d_state: 4, flow_network: none}\n"
    (tmp_path / "small.yml").write_text(small, encoding="utf-8")
    (tmp_path / "iart.yml").write_text("network_g: {type: IART}\n", encoding="utf-8")
    return tmp_path


def rows(printed):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_counting_only(files, capsys):
    outputs = ["--csv", "a.csv", "--json", "a.json", "--markdown", "a.md"]
    assert cli.main(["complexity", "-opt", "small.yml", "iart.yml", "--count-only", *SHORT, *outputs]) == 0
    printed = capsys.readouterr().out
    head, _, small, iart = rows(printed)
    assert [title for title in head if title.startswith("paper: ")] == head[-3:]
    assert head[2:5] == ["parameters", "GMAC", "scan, Gop"]
    assert len(head) == 8
    assert small[-3:] == ["-"] * 3
    assert iart[2:] == ["13,410,503", "177.76", "-", "13.4", "177.8", "180"]
    assert "Counted at 64x64.\n" in printed
    assert "ceilings" not in printed
    assert (files / "a.md").read_text(encoding="utf-8") == printed
    assert json.loads((files / "a.json").read_text(encoding="utf-8"))["ceilings"] is None
    with (files / "a.csv").open(newline="", encoding="utf-8") as file:
        assert [line["ceiling_bytes_per_second"] for line in csv.DictReader(file)] == ["", ""]


def test_with_times(files, capsys):
    arguments = ["--size", "8x6", "--frames", "2", "--dtype", "float32", "bf16", *SHORT]
    assert cli.main(["complexity", "-opt", "small.yml", *arguments]) == 0
    printed = capsys.readouterr().out
    assert [row[1] for row in rows(printed)[2:]] == ["float32", "bf16"]
    assert all("(" in row[5] for row in rows(printed)[2:])
    assert "Counted and timed at 8x6: a clip of 2 frames, median (quartiles) of 1 rounds" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to count: name option files with -opt"),
        (["-opt", "none.yml"], "none.yml: no such option file; there is"),
        (["-opt", "small.yml", "--size", "64"], "--size 64: expected 2 positive numbers with x between them, such as"),
        (["-opt", "small.yml", "--frames", "0"], "--frames 0: must be at least 1"),
        (["-opt", "small.yml", "--count-only", "--plot", "a.png"], "--plot draws times, and --count-only takes none"),
    ],
)
def test_errors_are_one_line(files, capsys, arguments, message):
    assert cli.main(["complexity", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
