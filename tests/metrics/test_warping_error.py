"""The warping error: against its formula, and on clips whose motion is known."""

import itertools
import math

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrm_arch.archs import Bicubic
from vsrm_arch.errors import UserError
from vsrm_arch.inference import super_resolve
from vsrm_arch.metrics import calculate_warping_error, warping_error


def noise(*size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def texture(height, width, seed=0):
    """Soft noise, whose motion can be seen."""
    soft = cv2.GaussianBlur(noise(height, width, seed=seed).astype(np.float32), (0, 0), 2)
    return np.interp(soft, (soft.min(), soft.max()), (0, 255)).round().astype(np.uint8)


def moving(dx, dy, length=3, height=64, width=96):
    """Frames of a picture that moves by whole pixels: what is at x in one is at x + (dx, dy) in the next."""
    picture = texture(3 * height, 3 * width)
    corners = [(height - i * dy, width - i * dx) for i in range(length)]
    return [picture[y : y + height, x : x + width] for y, x in corners]


def square_over(background, x):
    """A textured square of 40x40 at (x, 28) on a picture."""
    frame = background.copy()
    frame[28:68, x : x + 40] = texture(40, 40, seed=1)
    return frame


def painted(frame, *where):
    copy = frame.copy()
    copy[where] = 255 - copy[where]
    return copy


def read(image, x, y):
    """Bilinear, zero outside."""
    total = np.zeros(image.shape[2])
    for column, row in itertools.product((math.floor(x), math.floor(x) + 1), (math.floor(y), math.floor(y) + 1)):
        if 0 <= column < image.shape[1] and 0 <= row < image.shape[0]:
            total += (1 - abs(x - column)) * (1 - abs(y - row)) * image[row, column].astype(np.float64)
    return total


def by_the_formula(first, second, flow, back):
    height, width = flow.shape[:2]
    squares = []
    for y, x in itertools.product(range(height), range(width)):
        f = flow[y, x].astype(np.float64)
        to = (x + f[0], y + f[1])
        b = read(back, *to)
        inside = 0 <= to[0] <= width - 1 and 0 <= to[1] <= height - 1
        if inside and np.sum((f + b) ** 2) <= 0.01 * (np.sum(f**2) + np.sum(b**2)) + 0.5:
            squares.append(np.mean((first[y, x] / 255 - read(second, *to) / 255) ** 2))
    return 1000 * np.mean(squares), len(squares)


def test_equals_the_formula(monkeypatch):
    """With flows that leave the frame here, return there, and lie between pixels."""
    rng = np.random.default_rng(0)
    flow = rng.normal((1.5, -1), 0.4, (12, 16, 2)).astype(np.float32)
    back = rng.normal((-1.5, 1), 0.4, (12, 16, 2)).astype(np.float32)
    flows = iter([flow, back])
    monkeypatch.setattr(warping_error, "_flow", lambda first, second: torch.from_numpy(next(flows)[None]))
    first, second = noise(12, 16), noise(12, 16, seed=1)
    expected, count = by_the_formula(first, second, flow, back)
    assert 50 < count < 0.7 * 11 * 14  # of those that stay inside, some do not return
    assert calculate_warping_error([first, second], [first, second], 0) == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (2, -1), (-7, 2), (5, 3)])
@pytest.mark.parametrize("crop_border", [0, 8])
def test_a_picture_that_moves_by_whole_pixels_has_next_to_none(dx, dy, crop_border):
    clip = moving(dx, dy)
    values = calculate_warping_error(clip, clip, crop_border)
    assert len(values) == 2
    assert max(values) < 0.01
    still = [clip[0]] * 3
    if (dx, dy) != (0, 0):  # the same pictures along no motion
        assert min(calculate_warping_error(clip, still, crop_border)) > 5


def test_flicker_of_d_gives_its_square():
    truth = [texture(48, 64)] * 4
    clip = [frame * 0.8 + 10 + 12 * (i % 2) for i, frame in enumerate(truth)]
    assert calculate_warping_error(clip, truth, 0) == pytest.approx([1000 * (12 / 255) ** 2] * 3, rel=1e-3)


def test_what_leaves_the_frame_does_not_count():
    truth = moving(-6, 0, length=2)
    untouched = calculate_warping_error(truth, truth, 0)[0]
    leaving, staying = (painted(truth[0], slice(None), place) for place in (slice(0, 5), slice(7, 12)))
    assert calculate_warping_error([leaving, truth[1]], truth, 0)[0] == pytest.approx(untouched, abs=0.01)
    assert calculate_warping_error([staying, truth[1]], truth, 0)[0] > 2


def test_what_is_covered_hardly_counts():
    """A square moves to the right by 8 pixels, over what is painted."""
    background = texture(96, 128)
    truth = [square_over(background, 40), square_over(background, 48)]
    untouched = calculate_warping_error(truth, truth, 0)[0]
    covered, seen = (painted(truth[0], slice(28, 68), place) for place in (slice(80, 88), slice(90, 98)))
    added = [calculate_warping_error([frame, truth[1]], truth, 0)[0] - untouched for frame in (covered, seen)]
    assert added[1] > 1.5
    assert added[0] < 0.1 * added[1]


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 99))
def test_frames_in_another_order_have_more(order, seed):
    picture = texture(90, 120, seed=seed)
    truth = [picture[4 * i : 4 * i + 48, 6 * i : 6 * i + 64] for i in range(5)]
    clip = [truth[i] for i in order]
    own, other = (np.mean(calculate_warping_error(frames, truth, 0)) for frames in (truth, clip))
    assert order == list(range(5)) or other > 10 * own + 0.1


def test_noise_adds_its_variance_twice():
    truth = [texture(96, 128)] * 2
    rng = np.random.default_rng(0)
    clip = [frame + rng.normal(0, 3, frame.shape) for frame in truth]
    assert calculate_warping_error(clip, truth, 0)[0] == pytest.approx(1000 * 2 * (3 / 255) ** 2, rel=0.05)


def test_the_border_is_left_out_of_everything():
    truth, clip = moving(3, 1), moving(3, 2)
    inner = [[frame[4:-4, 4:-4] for frame in frames] for frames in (clip, truth)]
    assert calculate_warping_error(clip, truth, 4) == calculate_warping_error(*inner, 0)


def test_a_pair_without_a_common_pixel_counts_nothing(monkeypatch):
    monkeypatch.setattr(warping_error, "_flow", lambda first, second: torch.full((1, *first.shape[:2], 2), 100.0))
    assert calculate_warping_error([noise(8, 8)] * 2, [noise(8, 8)] * 2, 0) == [0]


def test_the_number_of_threads_does_not_matter():
    clip, threads = moving(3, 1, height=150, width=200), cv2.getNumThreads()
    values = []
    try:
        for count in (1, 3, 8):
            cv2.setNumThreads(count)
            values.append(calculate_warping_error(clip[::-1], clip, 0))
    finally:
        cv2.setNumThreads(threads)
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert values[0] == pytest.approx(values[2], rel=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (11, 300), (300, 2)])
def test_frames_of_any_size(size):
    clip = [noise(*size, seed=i) for i in range(3)]
    assert np.isfinite(calculate_warping_error(clip, clip, 0)).all()


def test_basicsr_finds_it():
    clip = moving(2, 0)
    options = {"type": "calculate_warping_error", "crop_border": 0, "better": "lower"}
    expected = calculate_warping_error(clip[::-1], clip, 0)
    assert calculate_metric({"img": clip[::-1], "img2": clip}, options) == expected


class TestErrors:
    @pytest.mark.parametrize("clip", [[], [noise(8, 8)], noise(8, 8)], ids=["no frame", "one frame", "an image"])
    def test_no_clip(self, clip):
        message = "calculate_warping_error compares neighbouring frames: give it clips of at least two; of the models, "
        with pytest.raises(UserError, match=message):
            calculate_warping_error(clip, clip, 0)

    def test_a_border_without_an_inside(self):
        clip = [noise(16, 9)] * 2
        with pytest.raises(UserError, match=r"val\.metrics: crop_border: 5 leaves nothing of 16x9 pixels; lower it"):
            calculate_warping_error(clip, clip, 5)

    def test_another_size(self):
        with pytest.raises(ValueError, match=r"shapes differ: \(8, 8, 3\) and \(8, 9, 3\)"):
            calculate_warping_error([noise(8, 8)] * 2, [noise(8, 9)] * 2, 0)

    def test_another_length(self):
        with pytest.raises(ValueError, match="zip"):
            calculate_warping_error([noise(8, 8)] * 2, [noise(8, 8)] * 3, 0)


@pytest.mark.data
@pytest.mark.slow
def test_city(vsrm_data):
    """Bicubic enlargement is blurred: it is calmer than the truth, whose noise shows. In a wrong order it is not."""
    names = [f"city/{i:08d}.png" for i in range(4)]
    truth, low = ([cv2.imread(str(vsrm_data / f"Vid4/{folder}/{n}")) for n in names] for folder in ("GT", "BIx4"))
    clip = torch.stack([torch.from_numpy(frame).permute(2, 0, 1) / 255 for frame in low]).unsqueeze(0)
    enlarged = super_resolve(Bicubic(4), clip, scale=4)[0].clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255
    own, bicubic, reversed_ = (
        np.mean(calculate_warping_error(list(frames), truth, 0)) for frames in (truth, enlarged, enlarged[::-1])
    )
    assert own == pytest.approx(0.47, abs=0.03)
    assert bicubic == pytest.approx(0.22, abs=0.02)
    assert reversed_ > 5 * bicubic
