"""Folders of pictures as films, in and out."""

import errno
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.upscaling.pictures import Pictures, PictureTarget, is_written, pictures_in

pytest.importorskip("av", reason="needs PyAV: the extra video")


def image(value, dtype=np.uint8, size=(4, 6)):
    picture = np.zeros((*size, 3), dtype)
    picture[..., 0] = value  # red
    return picture


def save(path, picture):
    cv2.imwrite(str(path), picture[..., ::-1])


class TestPictures:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_frames_and_times(self, tmp_path, dtype):
        for i in (1, 2, 10):
            save(tmp_path / f"{i}.png", image(20 * i, dtype))
        (tmp_path / "._1.png").write_bytes(b"of another system")
        pictures = Pictures.look_at(pictures_in(tmp_path), Fraction(24))
        frames = list(pictures.frames())
        assert [frame[0, 0].tolist() for frame, _ in frames] == [[20, 0, 0], [40, 0, 0], [200, 0, 0]]
        assert {frame.dtype for frame, _ in frames} == {np.dtype(dtype)}
        assert [time for _, time in frames] == [0, Fraction(1, 24), Fraction(2, 24)]
        assert pictures.length == 3
        assert pictures.depth == pictures.colour.depth == 8 * np.dtype(dtype).itemsize

    @pytest.mark.parametrize("other", [image(0, size=(4, 7)), image(0, np.uint16)])
    def test_pictures_that_differ(self, tmp_path, other):
        save(tmp_path / "1.png", image(0))
        save(tmp_path / "2.png", other)
        pictures = Pictures.look_at(pictures_in(tmp_path), Fraction(24))
        with pytest.raises(UserError, match="the frames of a film must agree: leave it out"):
            list(pictures.frames())

    def test_a_damaged_picture(self, tmp_path):
        (tmp_path / "1.png").write_bytes(b"no picture")
        with pytest.raises(UserError, match=r"1\.png is no readable image"):
            Pictures.look_at(pictures_in(tmp_path), Fraction(24))

    def test_identity_follows_the_files(self, tmp_path):
        save(tmp_path / "1.png", image(0))
        before = Pictures.look_at(pictures_in(tmp_path), Fraction(24)).identity
        save(tmp_path / "2.png", image(0))
        assert Pictures.look_at(pictures_in(tmp_path), Fraction(24)).identity != before


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("00000012.png", (), True),
        ("123456789.png", (), True),
        ("012.png", (), False),
        ("000000012.png", (), False),
        ("00000012.jpg", (), False),
        ("beach.png", ("beach",), True),
        ("beach.png", (), False),
        (".png", (), False),
    ],
)
def test_names_that_are_written(name, names, expected):
    assert is_written(Path(name), names) is expected


class TestPictureTarget:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_whole(self, tmp_path, dtype):
        path = tmp_path / "film"
        target = PictureTarget(path, {"a": 1})
        for i in range(2):
            target.write(image(i + 200, dtype), Fraction(i))
            assert not path.exists()
        assert target.finish() == path
        assert sorted(file.name for file in path.iterdir()) == ["00000000.png", "00000001.png"]
        read = cv2.imread(str(path / "00000001.png"), cv2.IMREAD_UNCHANGED)
        assert read.dtype == dtype
        assert read[0, 0].tolist() == [0, 0, 201]
        assert [file.name for file in tmp_path.iterdir()] == ["film"]

    def test_stopped_and_gone_on(self, tmp_path):
        path = tmp_path / "film"
        names = ("x", "y", "z")
        target = PictureTarget(path, {"a": 1}, names)
        assert target.interrupt() is None
        assert list(tmp_path.iterdir()) == []
        target = PictureTarget(path, {"a": 1}, names)
        target.write(image(1), Fraction(0))
        assert target.interrupt() == tmp_path / "film.partial"
        target = PictureTarget(path, {"a": 1}, names, resume=True)
        assert target.num_done == 1
        for i in (1, 2):
            target.write(image(i), Fraction(i))
        # Killed between the last frame and the name.
        target = PictureTarget(path, {"a": 1}, names, resume=True)
        assert target.num_done == 3
        target.finish()
        assert sorted(file.name for file in path.iterdir()) == ["x.png", "y.png", "z.png"]

    def test_of_another_recipe(self, tmp_path):
        PictureTarget(tmp_path / "film", {"a": 1}).write(image(1), Fraction(0))
        with pytest.raises(UserError, match=r"was made with a 1, not 2; give the same, or start again with --force"):
            PictureTarget(tmp_path / "film", {"a": 2}, resume=True)
        assert PictureTarget(tmp_path / "film", {"a": 2}).num_done == 0
        assert list(Path(tmp_path / "film.partial").glob("*.png")) == []

    def test_a_kill_behind_the_rename_leaves_the_film(self, tmp_path, monkeypatch):
        path = tmp_path / "film"
        target = PictureTarget(path, {})
        target.write(image(1), Fraction(0))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda *_, **__: pytest.fail("killed here"))
            with pytest.raises(pytest.fail.Exception):
                target.finish()
        assert (path / "00000000.png").is_file()
        assert not (tmp_path / "film.partial").exists()

    def test_a_rename_that_fails_can_be_tried_again(self, tmp_path, monkeypatch):
        path = tmp_path / "film"
        target = PictureTarget(path, {"a": 1})
        target.write(image(1), Fraction(0))

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", full)
            with pytest.raises(UserError, match=r"the disk is full; make room$"):
                target.finish()
        assert PictureTarget(path, {"a": 1}, resume=True).finish() == path
        assert [file.name for file in path.iterdir()] == ["00000000.png"]
