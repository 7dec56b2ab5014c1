"""``bench``: the whole command on a CPU, and its errors."""

import csv
import errno
import json
import os

import cv2
import numpy as np
import pytest
import torch

from vsrm_arch import cli
from vsrm_arch.bench import STAGES, WORKLOADS
from vsrm_arch.inference import Upscaler

TINY = "network_g: {type: VSRM, embed_dim: 8, num_damb: 1, num_s2tmb: 1, d_state: 4, flow_network: none}\n"
SHORT = ["--device", "cpu", "--repeats", "2", "--warmup", "0"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two option files in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yml").write_text(TINY, encoding="utf-8")
    (tmp_path / "bicubic.yml").write_text("network_g: {type: Bicubic}\n", encoding="utf-8")
    cv2.imwrite("frame.png", np.zeros((8, 8, 3), np.uint8))
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


class TestFilms:
    @pytest.fixture
    def films(self, files):
        """A film of 3 frames, and one of 5."""
        av = pytest.importorskip("av", reason="needs PyAV: the extra video")
        for name, num_frames in (("a.mp4", 3), ("b.mp4", 5)):
            with av.open(name, "w") as container:
                stream = container.add_stream("libx264", rate=25)
                stream.width, stream.height = 16, 8
                for i in range(num_frames):
                    frame = av.VideoFrame.from_ndarray(np.full((8, 16, 3), 20 * i, np.uint8), format="rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        return files

    def test_the_whole_command(self, films, capsys):
        pieces = ["--window", "2", "--tile", "8"]
        outputs = ["--csv", "a.csv", "--json", "a.json", "--markdown", "a.md"]
        assert cli.main(["bench", "upscale", "a.mp4", "b.mp4", *pieces, *SHORT, *outputs]) == 0
        printed = capsys.readouterr()
        assert (films / "a.md").read_text(encoding="utf-8") == printed.out
        assert "VSRM, weights sample; median (quartiles) of 2 rounds after 2 runs that are not counted." in printed.out
        assert "a.mp4, float32: windows of 2 frames, tiles of 8x8, chosen in 0.0 s" in printed.err
        rows = json.loads((films / "a.json").read_text(encoding="utf-8"))["rows"]
        stages = ["network", "frames in memory", "whole command"]
        assert [(row["film"], row["frames"], row["stage"], row["status"]) for row in rows] == [
            (film, num_frames, stage, "ok") for film, num_frames in (("a.mp4", 3), ("b.mp4", 5)) for stage in stages
        ]
        for row in rows:
            assert (row["size"], row["window"], row["tile"], len(row["samples"])) == ("8x16", 2, 8, 2)
            assert 0.05 < row["main_gib"] < 100
            alone = next(other["ms"] for other in rows if other["film"] == row["film"])
            expected = None if row["stage"] == "network" else pytest.approx(row["ms"] / alone - 1)
            assert row["over_network"] == expected
        assert sorted(path.name for path in films.glob("*.mp4")) == ["a.mp4", "b.mp4"]

    def test_a_stage_alone_has_nothing_to_be_compared_with(self, films, capsys):
        arguments = ["--stage", "whole command", "--window", "2", "--tile", "0", *SHORT]
        assert cli.main(["bench", "upscale", "a.mp4", *arguments]) == 0
        assert "| whole command |      3 |      2 | whole |" in capsys.readouterr().out

    def test_lost_frames_are_a_failure(self, films, capsys, monkeypatch):
        monkeypatch.setattr(Upscaler, "__call__", lambda self, frames, **_: iter(list(frames)[1:]))
        arguments = ["--stage", "frames in memory", "--window", "2", "--tile", "0", *SHORT]
        assert cli.main(["bench", "upscale", "a.mp4", *arguments]) == 1
        assert "| failed: 2 frames of 3 |" in capsys.readouterr().out

    def test_help(self, capsys):
        assert cli.main(["bench", "upscale", "-h"]) == 0
        text = capsys.readouterr().out
        assert all(f"\n  {stage} " in text for stage in STAGES)
        assert f"of {', '.join(STAGES)} (" in " ".join(text.split())
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
        (["upscale", "none.mp4"], "none.mp4: no such file or folder; check the path"),
        (["upscale", "."], ". is no video; make one of its frames first: basicsr upscale"),
        (["upscale", "a.mp4", "--window", "0"], "--window 0: must be at least 1"),
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
