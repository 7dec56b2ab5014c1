"""A clip as several methods give it."""

import cv2
import numpy as np
import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.figures.renditions import enlarged_by, given

SECTION = {"name": "Clips", "type": "VideoClipDataset", "phase": "test", "scale": 4}


def picture(path, value, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((side, side, 3), value, np.uint8))


class TestGiven:
    @pytest.fixture
    def section(self, tmp_path):
        for clip, value in (("a", 10), ("b", 20)):
            for i in range(2):
                picture(tmp_path / "gt" / clip / f"{i}.png", value + i)
        return SECTION | {"dataroot_gt": str(tmp_path / "gt")}

    def test_truth_and_bicubic(self, section):
        clip = given(section, "b")
        assert (clip.clip, clip.length, clip.truth.name, clip.bicubic.name) == ("b", 2, "GT", "bicubic")
        for rendition in (clip.truth, clip.bicubic):
            assert rendition.frame(1).dtype == np.uint8
            np.testing.assert_array_equal(rendition.frame(1), np.full((8, 8, 3), 21))

    def test_the_first_clip_without_a_truth(self, section):
        clip = given(section | {"dataroot_gt": None, "dataroot_lq": section["dataroot_gt"]}, None)
        assert (clip.clip, clip.truth) == ("a", None)
        assert clip.bicubic.frame(0).shape == (32, 32, 3)

    def test_no_such_clip(self, section):
        with pytest.raises(UserError, match=r"--clip c: Clips has no such clip; known: a, b"):
            given(section, "c")


class TestEnlargedBy:
    def test_in_natural_order_without_what_is_not_a_frame(self, tmp_path):
        for name, value in (("10_[net", 3), ("9_[net", 2), ("comparison_[net", 9), ("9_other", 9)):
            picture(tmp_path / f"{name}.png", value)
        (tmp_path / "metrics_net.json").write_text("{}")
        rendition = enlarged_by("net", tmp_path, range(2), "_[net")
        assert [rendition.frame(i)[0, 0, 0] for i in range(2)] == [2, 3]
        with pytest.raises(UserError, match=r"^net has no frame 2$"):
            rendition.frame(2)

    def test_the_centre_frame_alone(self, tmp_path):
        picture(tmp_path / "a.png", 5)
        rendition = enlarged_by("net", tmp_path, [3])
        assert rendition.frame(3)[0, 0, 0] == 5
        with pytest.raises(UserError, match=r"^net has no frame 0; it is frame 3 alone$"):
            rendition.frame(0)

    def test_another_number(self, tmp_path):
        picture(tmp_path / "0.png", 5)
        picture(tmp_path / "1.png", 5)
        with pytest.raises(UserError, match=r"^net: 2 pictures in .*, where 7 frames should be$"):
            enlarged_by("net", tmp_path, range(7))
