"""Inputs and outputs as the user names them."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.upscaling.films import find_films

pytest.importorskip("av", reason="needs PyAV: the extra video")


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch, make_video):
    monkeypatch.chdir(tmp_path)
    make_video("a.mp4", 2)
    make_video("b.avi", 2, codec="mpeg4")
    Path("frames").mkdir()
    for name in ("frame10", "frame9", "frame1"):
        cv2.imwrite(f"frames/{name}.png", np.zeros((16, 24, 3), np.uint8))
    Path("empty").mkdir()
    Path("out").mkdir()
    Path("note.txt").write_text("no video")


def outputs(*arguments, **settings):
    return [str(film.output) for film in find_films(*arguments, **settings)]


@pytest.mark.parametrize(
    ("inputs", "output", "settings", "named"),
    [
        (["a.mp4"], None, {}, ["a_x4.mp4"]),
        (["b.avi"], None, {}, ["b_x4.mkv"]),
        (["frames"], None, {}, ["frames_x4"]),
        (["a.mp4"], None, {"to_pictures": True}, ["a_x4"]),
        (["a.mp4"], "pictures", {"to_pictures": True}, ["pictures"]),
        (["a.mp4"], "c.MKV", {}, ["c.MKV"]),
        (["a.mp4"], "new", {}, ["new/a_x4.mp4"]),
        (["frames"], "c.mp4", {}, ["c.mp4"]),
        (["frames"], "new", {}, ["new"]),
        (["a.mp4", "frames"], "new", {}, ["new/a_x4.mp4", "new/frames_x4"]),
        (["*.mp4", "*.avi"], "out", {}, ["out/a_x4.mp4", "out/b_x4.mkv"]),
        (["frames/frame*.png"], None, {}, ["frames_x4"]),
    ],
)
def test_names(inputs, output, settings, named):
    assert outputs(inputs, output and Path(output), 4, **settings) == named


def test_pictures_are_one_film_in_natural_order():
    (film,) = find_films(["frames/frame10.png", "frames/frame9.png", "frames/frame1.png"], None, 4, Fraction(10))
    assert [file.stem for file in film.source.files] == ["frame1", "frame9", "frame10"]
    assert (film.source.size, film.source.depth, film.source.duration) == ((16, 24), 8, Fraction(3, 10))
    assert film.to_pictures
    assert film.identity


def test_folders_whose_names_hold_dots_or_nothing_else(monkeypatch):
    Path("frames").rename("v1.5")
    assert outputs(["v1.5"], None, 4) == ["v1.5_x4"]
    folder = Path("v1.5").resolve()
    monkeypatch.chdir(folder)
    assert outputs(["."], None, 4) == [f"{folder}_x4"]
    (folder / "sub").mkdir()
    monkeypatch.chdir("sub")
    assert outputs([".."], None, 4) == [f"{folder}_x4"]


def test_a_name_that_looks_like_a_pattern(make_video):
    make_video("a[1].mp4", 2)
    assert outputs(["a[1].mp4"], None, 4) == ["a[1]_x4.mp4"]


@pytest.mark.parametrize(
    ("inputs", "output", "settings", "message"),
    [
        (["none.mp4"], None, {}, "none.mp4: no such file or folder; check the path"),
        (["n*.mp4"], None, {}, r"n\*.mp4: no file has such a name; check the path"),
        (["empty"], None, {}, "empty holds no pictures"),
        (["note.txt"], None, {}, "note.txt is no readable video"),
        (["a.mp4"], "c.avi", {}, "-o c.avi: videos are written as .mp4, .m4v, .mov, .mkv, .webm"),
        (["a.mp4"], "note.txt", {}, "-o note.txt: is a file, but no video"),
        (["a.mp4", "b.avi"], "c.mp4", {}, "-o c.mp4: 2 films cannot become one; name a folder"),
        (["a.mp4"], "c.mp4", {"to_pictures": True}, "-o c.mp4: --frames makes pictures; name a folder"),
        (["a.mp4", "./a.mp4"], None, {}, "two inputs would become a_x4.mp4"),
        (["a.mp4"], "./a.mp4", {}, "a.mp4 is input and output at once"),
        (["frames"], "frames", {}, "frames is input and output at once"),
    ],
)
def test_errors(inputs, output, settings, message):
    with pytest.raises(UserError, match=f"^{message}"):
        find_films(inputs, output and Path(output), 4, **settings)
