"""A region of a frame by several methods."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrm_arch.figures.crops import Region, draw_crops, most_different, region_psnr

RNG = np.random.default_rng(0)


def frame(height=40, width=60):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def errors(image, truth, region):
    return np.square(region.of(image).astype(float) - region.of(truth)).mean()


class TestMostDifferent:
    def test_it_finds_what_one_method_alone_gets_wrong(self):
        truth = frame()
        wrong = truth.copy()
        wrong[10:20, 30:45] ^= 128
        assert most_different([truth, wrong], truth, 10, 15) == Region(30, 10, 15, 10)

    def test_what_all_get_wrong_does_not_count(self):
        truth = frame()
        first, second = truth ^ 255, truth ^ 255
        second[5:8, 3:9] = truth[5:8, 3:9]
        assert most_different([first, second], truth, 3, 6) == Region(3, 5, 6, 3)

    def test_without_a_truth(self):
        same, other = frame(), None
        other = same.copy()
        other[-4:, -4:] ^= 255
        for images in ([same, other], [same, same, other]):
            assert most_different(images, None, 4, 4) == Region(56, 36, 4, 4)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))
    def test_it_is_the_maximum_over_all_regions(self, width, height, seed):
        rng = np.random.default_rng(seed)
        truth, *images = rng.integers(0, 256, (4, 9, 12, 3), dtype=np.uint8)

        def spread(region):
            values = [errors(image, truth, region) for image in images]
            return max(values) - min(values)

        best = max(spread(Region(x, y, width, height)) for x in range(13 - width) for y in range(10 - height))
        assert spread(most_different(images, truth, height, width)) == pytest.approx(best)


def test_psnr_is_that_of_the_region():
    truth = np.full((20, 20, 3), 100, np.uint8)
    image = truth.copy()
    image[:10] += 10
    assert region_psnr(image, truth, Region(0, 0, 20, 10), y_channel=False) == pytest.approx(20 * np.log10(255 / 10))
    assert region_psnr(image, truth, Region(0, 10, 20, 10), y_channel=False) == float("inf")
    # A grey level is 219/255 of one in Y.
    expected = 20 * np.log10(255 / (10 * 219 / 255))
    assert region_psnr(image, truth, Region(0, 0, 20, 10), y_channel=True) == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("methods", [1, 4])
def test_a_picture(tmp_path, methods):
    pytest.importorskip("matplotlib", reason="needs matplotlib: the extra plot")
    truth = frame()
    images = {"GT": truth} | {f"net {i}": frame() for i in range(methods)}
    draw_crops(tmp_path / "a.png", "clip, frame 3", images, truth, Region(5, 5, 20, 10), y_channel=True)
    drawn = cv2.imread(str(tmp_path / "a.png"))
    # The rectangle.
    assert (drawn == (0, 0, 255)).all(2).sum() > 100
    draw_crops(tmp_path / "b.png", "clip, frame 3", images, None, Region(5, 5, 20, 10), y_channel=True)
    assert (tmp_path / "b.png").is_file()
