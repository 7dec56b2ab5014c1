"""`basicsr prepare` as it is called."""

import argparse
import errno
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from vsrm_arch.cli import main, prepare
from vsrm_arch.data.sources import open_frames


@pytest.fixture
def frames(tmp_path):
    """A folder with a clip of five frames, 24x32."""
    folder = tmp_path / "frames/clip"
    folder.mkdir(parents=True)
    for i in range(5):
        image = np.random.default_rng(i).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), image)
    return folder.parent


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder; gives its status, and the lines that it wrote."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        status = main(["prepare", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return call


def test_clips(frames, call, tmp_path):
    status, out, err = call("clips", frames, "-o", "datasets/mine", "--workers", 1)
    assert status == 0
    assert out == "done: datasets/mine\n"
    assert err == ["datasets/mine/train_GT.lmdb: 1 clip, 5 frames"]
    assert len(open_frames(tmp_path / "datasets/mine/train_BIx4.lmdb").clips["clip"]) == 5


def test_again_and_force(frames, call, tmp_path):
    data = tmp_path / "datasets/clips/train_GT.lmdb/data.mdb"
    call("clips", frames)
    before = data.stat().st_mtime_ns
    status, _, err = call("clips", frames)
    assert status == 0
    assert "datasets/clips/train_GT.lmdb is complete already" in err
    assert data.stat().st_mtime_ns == before
    assert call("clips", frames, "--force")[0] == 0
    assert data.stat().st_mtime_ns > before


def test_test_set_at_scale_2(frames, call, tmp_path):
    assert call("clips", frames, "-o", "out", "--test", "--scale", 2)[0] == 0
    assert cv2.imread(str(tmp_path / "out/BIx2/clip/00000004.png")).shape == (12, 16, 3)


@pytest.mark.parametrize("data", ["reds", "vimeo90k", "vid4", "clips", "sample"])
def test_help(call, data):
    status, out, _ = call(data, "-h")
    assert status == 0
    assert "datasets" in out
    assert "--force" in out
    assert max(len(line) for line in out.splitlines()) <= 120


def test_top_help_lists_them(call):
    status, out, _ = call("-h")
    assert status == 0
    assert all(f"    {data} " in out for data in ("reds", "vimeo90k", "vid4", "clips", "sample"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reds", "nowhere"], "nowhere holds neither train_sharp/"),
        (["vimeo90k", "nowhere"], "nowhere/sep_trainlist.txt does not exist"),
        (["vid4", "nowhere"], "nowhere/calendar does not exist"),
        (["clips", "nowhere"], "nowhere does not exist"),
        (["clips", "frames", "--val", "other"], "--val names other, which is no clip; there are clip"),
        (["clips", "frames", "--val", "clip", "--test"], "--val and --test exclude each other"),
    ],
)
def test_faults_are_one_line(frames, call, arguments, message):
    status, _, err = call(*arguments)
    assert status == 1
    assert len(err) == 1
    assert err[0].startswith(f"error: {message}")


@pytest.mark.parametrize("arguments", [[], ["films"], ["clips"], ["clips", "x", "--workers", "0"]])
def test_wrong_usage(call, arguments):
    assert call(*arguments)[0] == 2


def test_ctrl_c_says_what_is_kept(frames, call, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("vsrm_arch.data.prepare.targets.LmdbTarget.put", stopped)
    status, _, err = call("clips", frames)
    assert status == 130
    assert err[-1].startswith("interrupted: what is done is kept in datasets/clips/train_GT.lmdb.partial and ")
    assert err[-1].endswith("; to go on give the same command again")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written(frames, call, monkeypatch, number):
    def refuse(path, *_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    status, _, err = call("clips", frames)
    assert status == 1
    assert len(err) == 1
    assert err[0].startswith(f"error: datasets/clips/train_GT.lmdb.partial: {os.strerror(number)}; ")
    assert err[0].endswith(" and run the same command again, nothing was written")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="this system has no /proc")
@pytest.mark.parametrize("data", ["clips", "sample"])
def test_a_place_where_nothing_can_be_made(frames, call, data):
    status, _, err = call(data, *([frames] if data == "clips" else []), "-o", "/proc/nowhere")
    assert status == 1
    assert len(err) == 1
    assert re.match(r"error: /proc/\.?nowhere.*: No such file or directory; check the path and run the same", err[0])


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_file_in_the_place_of_the_sample(call, tmp_path, force):
    (tmp_path / "file").write_text("mine")
    status, _, err = call("sample", "-o", "file", *force)
    assert status == 1
    assert err == ["error: file is a file; move it away or name another folder for the sample"]
    assert (tmp_path / "file").read_text() == "mine"


def test_sample(call, tmp_path, monkeypatch):
    made = []

    def fake(root, workers=None):
        made.append(workers)
        (root / "train_GT.lmdb").mkdir()

    monkeypatch.setattr("vsrm_arch.data.prepare.sample.prepare_sample", fake)
    assert call("sample", "--workers", 3)[0] == 0
    assert (tmp_path / "datasets/sample/train_GT.lmdb").is_dir()
    status, _, err = call("sample")
    assert status == 0
    assert err == ["datasets/sample is there already; --force makes it anew"]
    assert made == [3]
    assert call("sample", "--force")[0] == 0
    assert len(made) == 2


def test_commands_of_the_readme_are_commands():
    readme = (Path(__file__).parents[2] / "datasets/README.md").read_text(encoding="utf-8")
    commands = [line.split()[2:] for line in re.findall(r"`(basicsr prepare [^`]*)`", readme)]
    assert {command[0] for command in commands} >= {"sample", "reds", "vimeo90k", "vid4", "clips"}
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    for command in commands:
        if command[0] != "DATA":
            assert callable(parser.parse_args(command).function)
