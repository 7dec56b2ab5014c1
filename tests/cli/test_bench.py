"""``bench``: the whole command on a CPU, and its errors."""

import csv
import errno
import json
import os

import pytest
import torch

from vsrm_arch import cli
from vsrm_arch.bench import WORKLOADS

TINY = "network_g: {type: VSRM, embed_dim: 8, num_damb: 1, num_s2tmb: 1, d_state: 4, flow_network: none}\n"
SHORT = ["--device", "cpu", "--repeats", "2", "--warmup", "0"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two option files in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yml").write_text(TINY, encoding="utf-8")
    (tmp_path / "bicubic.yml").write_text("network_g: {type: Bicubic}\n", encoding="utf-8")
    return tmp_path


class TestNetworks:
    @pytest.mark.slow
    @pytest.mark.timeout(300)
    def test_the_whole_command(self, files, capsys):
        outputs = ["--csv", "a.csv", "--json", "a.json", "--markdown", "a.md"]
        arguments = ["--size", "8x8", "4x6", "--frames", "3", "--dtype", "float32", "bf16", *SHORT, *outputs]
        assert cli.main(["bench", "-opt", "tiny.yml", "bicubic.yml", *arguments]) == 0
        printed = capsys.readouterr()
        assert (files / "a.md").read_text(encoding="utf-8") == printed.out
        assert printed.out.count("\n| tiny ") == printed.out.count("\n| bicubic ") == 4
        assert (
            "Pass without gradient, 1 x 3 frames, median (quartiles) of 2 rounds after 0 warm-up runs." in printed.out
        )
        assert "tiny, 8x8, bf16: check and warm-up\n" in printed.err
        read = json.loads((files / "a.json").read_text(encoding="utf-8"))
        assert [(row["size"], row["network"], row["dtype"], row["status"]) for row in read["rows"]] == [
            (size, name, dtype, "ok")
            for size in ("8x8", "4x6")
            for name in ("tiny", "bicubic")
            for dtype in ("float32", "bf16")
        ]
        assert {"device", "torch", "cuda", "backends", "command", "date"} <= set(read["environment"])
        assert "selective_scan: portable" in read["environment"]["backends"]
        with (files / "a.csv").open(newline="", encoding="utf-8") as file:
            assert [float(line["ms"]) for line in csv.DictReader(file)] == [row["ms"] for row in read["rows"]]

    def test_training(self, files, capsys):
        assert cli.main(["bench", "-opt", "tiny.yml", "--train", "--size", "8x8", "--frames", "2", *SHORT]) == 0
        assert "ms a step" in capsys.readouterr().out

    def test_a_failure_among_them_tells_in_the_exit_status(self, files, capsys):
        arguments = ["--train", "--size", "8x8", "--frames", "1", *SHORT]
        assert cli.main(["bench", "-opt", "bicubic.yml", "tiny.yml", *arguments]) == 1
        assert "| failed: the network has no parameters to train |" in capsys.readouterr().out

    def test_a_failure_leaves_the_files(self, files, monkeypatch):
        def full(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        outputs = {flag: files / f"a.{flag[2:]}" for flag in ("--csv", "--json", "--markdown")}
        for file in outputs.values():
            file.write_text("good", encoding="utf-8")
        arguments = ["--train", "--size", "8x8", "--frames", "1", *SHORT]
        everything = [word for flag, file in outputs.items() for word in (flag, file.name)]
        assert cli.main(["bench", "-opt", "bicubic.yml", *arguments, *everything]) == 1
        monkeypatch.setattr(os, "fsync", full)
        for flag, file in outputs.items():
            assert cli.main(["bench", "-opt", "tiny.yml", *arguments, "--no-count", flag, file.name]) == 1
        assert [file.read_text(encoding="utf-8") for file in outputs.values()] == ["good"] * 3

    def test_running_out_of_memory_is_a_result(self, files, capsys, monkeypatch):
        def exhausted(self, lq):
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr("vsrm_arch.archs.Bicubic.forward", exhausted)
        assert cli.main(["bench", "-opt", "bicubic.yml", "tiny.yml", "--size", "8x8", "--frames", "1", *SHORT]) == 0
        printed = capsys.readouterr()
        assert "| out of memory |" in " ".join(printed.out.split())
        assert "bicubic: its multiply-adds cannot be counted: CUDA out of memory." in printed.err


class TestOps:
    def test_the_whole_command(self, files, capsys):
        arguments = ["--op", "selective_scan", "--shape", "1x6x4x2", "--dtype", "float32", "bf16"]
        arguments += ["--backend", "portable", "naive", "--reference", "naive", *SHORT, "--json", "ops.json"]
        assert cli.main(["bench", "ops", *arguments]) == 0
        # Of the other implementation it may be 1.00 or 21.00.
        assert capsys.readouterr().out.count("| 1.00 x naive |") >= 4
        read = json.loads((files / "ops.json").read_text(encoding="utf-8"))
        assert [(row["mode"], row["dtype"], row["backend"]) for row in read["rows"]] == [
            (mode, dtype, name)
            for mode in ("forward", "forward + backward")
            for dtype in ("float32", "bf16")
            for name in ("portable", "naive")
        ]

    def test_help(self, capsys):
        assert cli.main(["bench", "ops", "-h"]) == 0
        text = capsys.readouterr().out
        assert "examples:\n  basicsr bench ops" in text
        assert f"of {', '.join(WORKLOADS)}" in " ".join(text.split())
        assert all(f"{op:18}{workload.axes}" in text for op, workload in WORKLOADS.items())
        assert max(len(line) for line in text.splitlines()) <= 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to time: name option files with -opt, or the ops: basicsr bench ops"),
        (["-opt", "none.yml"], "none.yml: no such option file; there is"),
        (["-opt", "tiny.yml", "--size", "64"], "--size 64: expected 2 positive numbers with x between them, such as"),
        (["-opt", "tiny.yml", "--size", "0x64"], "--size 0x64: expected 2 positive numbers"),
        (["-opt", "tiny.yml", "--frames", "0"], "--frames 0: must be at least 1"),
        (["-opt", "tiny.yml", "--repeats", "0"], "--repeats 0: must be at least 1"),
        (["-opt", "tiny.yml", "--warmup", "-1"], "--warmup -1: must be at least 0"),
        (["-opt", "tiny.yml", "--csv", "no/a.csv"], "--csv no/a.csv: there is no folder no; make it first"),
        (["-opt", "tiny.yml", "--json", "."], "--json .: is a folder"),
        (["-opt", "tiny.yml", "--plot", "a.txt"], "--plot a.txt: no picture format; name a file that ends in"),
        (["ops", "--shape", "1x2x3x4"], "--shape belongs to one op: name it with --op"),
        (["ops", "--op", "cross_scan", "--shape", "1x2"], "--shape 1x2: expected 4 positive numbers"),
        (["ops", "--op", "dca", "--shape", "1x2"], "--shape 1x2: expected 3 positive numbers"),
        (["ops", "--op", "cross_scan", "--backend", "fast"], "--backend fast: cross_scan has no such backend"),
    ],
)
def test_errors_are_one_line(files, capsys, arguments, message):
    assert cli.main(["bench", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_no_gpu(files, capsys):
    assert cli.main(["bench", "-opt", "tiny.yml", "--device", "cuda"]) == 1
    assert capsys.readouterr().err.startswith("error: --device cuda: PyTorch sees no CUDA device; basicsr doctor")
