"""A film on its way: what happens at the same time, and what is said."""

import threading

import numpy as np
import pytest

from vsrm_arch.archs import Bicubic
from vsrm_arch.errors import UserError
from vsrm_arch.inference import Upscaler
from vsrm_arch.inference.scenes import SceneCuts
from vsrm_arch.upscaling import Run, Settings, find_films
from vsrm_arch.video import VideoFile, VideoTarget

pytest.importorskip("av", reason="needs PyAV: the extra video")
SECONDS = 30  # what waits for one another waits no longer


@pytest.fixture(autouse=True)
def _one_scene(monkeypatch):
    """The ramps of the tiny video start again at black."""
    monkeypatch.setattr(SceneCuts, "__call__", lambda self, frame: False)


@pytest.fixture
def film(tmp_path, make_video):
    """Four windows of eight frames, of which neighbours share two and more; the first gives seven."""
    make_video(tmp_path / "a.mp4", 22)
    return find_films([str(tmp_path / "a.mp4")], tmp_path / "b.mp4", 4)[0]


@pytest.fixture
def upscaler():
    return Upscaler(Bicubic(4), 4, window=8, tile=0)


@pytest.fixture
def windows(monkeypatch):
    """An event for each window, set when the network begins with it."""
    began, enlarge = [threading.Event() for _ in range(4)], Upscaler._enlarge_window
    numbers = iter(began)

    def enlarging(*given):
        next(numbers).set()
        return enlarge(*given)

    monkeypatch.setattr(Upscaler, "_enlarge_window", enlarging)
    return began


def test_a_window_is_enlarged_while_the_one_before_is_written(film, upscaler, windows, monkeypatch):
    write = VideoTarget.write

    def writing(*given):
        assert windows[1].wait(SECONDS), "the network waits for the writing"
        write(*given)

    monkeypatch.setattr(VideoTarget, "write", writing)
    assert VideoFile.look_at(Run(film, upscaler, Settings("none")).enlarge()).length == 22


def test_a_window_is_read_while_the_one_before_is_enlarged(film, upscaler, monkeypatch):
    read, all_read = VideoFile.frames, threading.Event()
    enlarge = Upscaler._enlarge_window

    def reading(self):
        for i, item in enumerate(read(self)):
            if i == 21:  # a window and a stride are held, and a window more is on its way
                all_read.set()
            yield item

    def enlarging(*given):
        assert all_read.wait(SECONDS), "the reading waits for the network"
        return enlarge(*given)

    monkeypatch.setattr(VideoFile, "frames", reading)
    monkeypatch.setattr(Upscaler, "_enlarge_window", enlarging)
    assert VideoFile.look_at(Run(film, upscaler, Settings("none")).enlarge()).length == 22


def test_no_more_than_two_windows_wait_to_be_written(film, upscaler, windows, monkeypatch):
    """Memory is bounded where the writing is slower than the network."""
    write, written = VideoTarget.write, []

    def writing(self, *given):
        if not written:
            assert not windows[3].wait(0.5)
        written.append(given)
        write(self, *given)

    monkeypatch.setattr(VideoTarget, "write", writing)
    Run(film, upscaler, Settings("none")).enlarge()
    assert len(written) == 22


def test_an_error_of_the_network_keeps_what_is_written(film, upscaler, monkeypatch):
    enlarge, calls = Upscaler._enlarge_window, iter(range(9))

    def failing(*given):
        if next(calls) == 2:
            raise UserError("out of memory\nand more")
        return enlarge(*given)

    with monkeypatch.context() as patch:
        patch.setattr(Upscaler, "_enlarge_window", failing)
        with pytest.raises(UserError, match=r"^out of memory; --resume goes on after \d+ frames$"):
            Run(film, upscaler, Settings("none")).enlarge()
    assert not film.output.exists()
    assert VideoFile.look_at(Run(film, upscaler, Settings("none", resume=True)).enlarge()).length == 22


def test_the_description_of_a_film(film, upscaler):
    run = Run(film, upscaler, Settings("none", quality=20))
    lines = run.describe(upscaler.pieces(16, 24), 3 * 2**30, 2.0)
    assert lines == [
        f"{film.source.path} -> {film.output}",
        "  frames    22, 25 frames a second, 0:00:01",
        "  size      24x16 -> 96x64",
        "  colours   BT.601, limited range, 8 bit",
        "  written   libx264, yuv420p, crf=20",
        "  copied    audio (aac), metadata",
        "  memory    about 3 GiB on cpu, windows of 8 frames, whole frames",
        "  time      about 0:00:44 (2 s a frame)",
    ]


def test_the_frames_are_those_of_the_upscaler(film, upscaler):
    """Written without loss, they are what arrays give."""
    images = [image for image, _ in film.source.frames()]
    run = Run(
        find_films([str(film.source.path)], film.output.parent / "c.mkv", 4)[0],
        upscaler,
        Settings("none", codec="ffv1", pix_fmt="bgr0"),
    )
    written = [image for image, _ in VideoFile.look_at(run.enlarge()).frames()]
    assert np.array_equal(written, list(upscaler(images)))
