"""vsrm_arch.data.bicubic against BasicSR's slow reference."""

import cv2
import numpy as np
import pytest
from basicsr.utils.matlab_functions import imresize
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrm_arch.data.bicubic import downscale, downscale_window


def reference(image, scale):
    small = imresize(image.astype(np.float32) / 255, 1 / scale)
    return np.clip(np.round(small * 255), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("rows", "columns"), [(11, 17), (4, 30), (16, 16)])
def test_equals_matlab_imresize(scale, rows, columns):
    image = np.random.default_rng(rows).integers(0, 256, (rows * scale, columns * scale, 3), dtype=np.uint8)
    difference = downscale(image, scale).astype(int) - reference(image, scale)
    # The reference sums in float32, which may tip a tie.
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.005


def test_worked_by_hand():
    # An edge between columns 7 and 8: weights of the cubic at (2k + 1) / 8, summed over one side of the edge.
    image = np.zeros((4, 16, 1), np.uint8)
    image[:, 8:] = 200
    distance = np.arange(0.5, 8) / 4
    weights = np.where(
        distance < 1,
        1.5 * distance**3 - 2.5 * distance**2 + 1,
        -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2,
    )
    # The pixel centred at column 5.5 sees the bright side from 2.5 columns away on, the one at 1.5 from 6.5 columns on.
    near, far = weights[2:].sum() / (2 * weights.sum()) * 200, weights[6:].sum() / (2 * weights.sum()) * 200
    expected = [max(round(far), 0), max(round(near), 0), min(round(200 - near), 255), round(200 - far)]
    assert downscale(image, 4)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_constant_stays(scale):
    image = np.full((12, 24, 3), 137, np.uint8)
    assert (downscale(image, scale) == 137).all()


def test_tiny_pictures_are_mirrored():
    image = np.array([[[10], [20], [30], [40]]] * 4, np.uint8)
    assert downscale(image, 4).item() == 25


def test_side_not_divisible():
    with pytest.raises(ValueError, match=r"sides 30x32 are no multiples of 4"):
        downscale(np.zeros((30, 32, 3), np.uint8), 4)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_window_equals_the_whole(data):
    scale = data.draw(st.sampled_from([2, 3, 4]))
    rows, columns = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 14))
    image = np.random.default_rng(rows * 15 + columns).integers(0, 256, (rows * scale, columns * scale, 3), np.uint8)
    height, width = data.draw(st.integers(1, rows)), data.draw(st.integers(1, columns))
    top, left = data.draw(st.integers(0, rows - height)), data.draw(st.integers(0, columns - width))
    window = downscale_window(image, scale, top, left, height, width)
    np.testing.assert_array_equal(window, downscale(image, scale)[top : top + height, left : left + width])


@pytest.mark.data
@pytest.mark.parametrize("clip", ["city", "walk"])
def test_reproduces_vid4(vsrm_data, clip):
    high, low = (sorted((vsrm_data / "Vid4" / part / clip).iterdir()) for part in ("GT", "BIx4"))
    for i in (0, len(high) // 2, -1):
        made = downscale(cv2.imread(str(high[i])), 4)
        given_low = cv2.imread(str(low[i]))
        assert np.abs(made.astype(int) - given_low).max() <= 1
