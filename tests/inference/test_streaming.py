import re
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vsrm_arch.errors import UserError
from vsrm_arch.inference import Upscaler, super_resolve, upscale
from vsrm_arch.inference.fitting import Pieces


class Double(nn.Module):
    """Enlarges pixel by pixel; fails above a size."""

    def __init__(self, most=10**9):
        super().__init__()
        self.most, self.shapes = most, []

    def forward(self, lq):
        self.shapes.append(tuple(lq.shape))
        if lq[0, :, 0].numel() > self.most:
            raise torch.OutOfMemoryError("too much")
        return lq.repeat_interleave(2, -1).repeat_interleave(2, -2)


class Average(nn.Module):
    """Every frame becomes the mean of its window."""

    def forward(self, lq):
        return lq.mean(1, keepdim=True).expand_as(lq)


def numbered(length, height=4, width=6, dtype=np.uint8):
    return [np.full((height, width, 3), i, dtype) for i in range(length)]


def doubled(frames):
    return [frame.repeat(2, 0).repeat(2, 1) for frame in frames]


def never(frame):
    return False


@st.composite
def pieces(draw):
    size = draw(st.integers(1, 8))
    return Pieces(size, draw(st.integers(0, size - 1)))


@settings(max_examples=40, deadline=None)
@given(length=st.integers(0, 30), piece=pieces(), cuts=st.sets(st.integers(0, 29)), skip=st.integers(0, 31))
def test_each_frame_once_whatever_the_pieces_and_the_cuts(length, piece, cuts, skip):
    frames = numbered(length)
    is_cut = lambda frame: int(frame[0, 0, 0]) in cuts  # noqa: E731
    found = list(Upscaler(Double(), 2)(iter(frames), is_cut, piece, skip))
    np.testing.assert_equal(found, doubled(frames)[skip:])


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 30), piece=pieces(), cuts=st.sets(st.integers(0, 29)), skip=st.integers(1, 30))
def test_skipped_frames_change_nothing(length, piece, cuts, skip):
    frames = numbered(length)
    is_cut = lambda frame: int(frame[0, 0, 0]) in cuts  # noqa: E731
    upscaler = Upscaler(Average(), 1)
    every = list(upscaler(iter(frames), is_cut, piece))
    np.testing.assert_equal(list(upscaler(iter(frames), is_cut, piece, skip)), every[skip:])


def test_windows_are_those_of_a_clip_held_whole():
    frames = [np.random.default_rng(i).integers(0, 256, (4, 6, 3), np.uint8) for i in range(17)]
    found = list(Upscaler(Average(), 1)(iter(frames), never, Pieces(5, 2)))
    lq = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None] / 255
    whole = super_resolve(Average(), lq, scale=1, window=5, window_overlap=2)
    expected = whole[0].mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(np.stack(found), expected)


def test_nothing_bleeds_across_a_cut():
    dark, bright = (np.full((4, 6, 3), value, np.uint8) for value in (10, 200))
    frames = [dark] * 7 + [bright] * 4 + [dark] * 3
    np.testing.assert_equal(list(upscale(iter(frames), Average(), scale=1)), frames)


def test_skip_runs_no_window_that_is_not_wanted():
    network = Double()
    list(Upscaler(network, 2)(numbered(20), never, Pieces(5, 0), skip=11))
    assert len(network.shapes) == 2


@pytest.mark.parametrize("value", [0, 1, 300, 65535])
def test_sixteen_bits(value):
    frames = [np.full((4, 6, 3), value, np.uint16)] * 2
    found = list(Upscaler(Double(), 2)(frames, never, Pieces()))
    assert found[0].dtype == np.uint16
    np.testing.assert_equal(found, doubled(frames))


def test_what_lies_outside_is_clipped():
    network = nn.Sequential(nn.Identity())
    network.forward = lambda lq: lq * 4 - 1
    (found,) = Upscaler(network, 1)([np.array([[[0, 85, 255]]], np.uint8)], never, Pieces())
    assert found.tolist() == [[[0, 85, 255]]]


@pytest.mark.parametrize("other", [np.zeros((5, 6, 3), np.uint8), np.zeros((4, 6, 3), np.uint16)])
def test_frames_that_differ_are_named(other):
    message = f"frame 2 is {other.shape} {other.dtype}, the first (4, 6, 3) uint8; they must agree"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        list(Upscaler(Double(), 2)([*numbered(2), other], never, Pieces()))


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 6, 3), np.float32),
        np.zeros((4, 6, 3), np.int64),
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        torch.zeros(4, 6, 3, dtype=torch.uint8),
    ],
)
def test_frames_of_another_kind(frame):
    message = r"^frames are \w+ \([^\n]*; they must be NumPy arrays \(height, width, RGB\), uint8 or uint16$"
    with pytest.raises(UserError, match=message):
        next(upscale([frame], Double(), scale=2))


def test_what_is_no_network():
    with pytest.raises(UserError, match=r"^a dict is no network \(torch\.nn\.Module\); of a loaded one that is"):
        upscale([], {}, scale=2)


def test_no_frames():
    assert list(upscale([], Double(), scale=2)) == []


def test_few_frames_of_a_long_film_are_alive_at_once():
    alive, most = [], 0

    def film():
        nonlocal most
        for _ in range(120):
            frame = np.zeros((4, 6, 3), np.uint8)
            alive.append(weakref.ref(frame))
            most = max(most, sum(ref() is not None for ref in alive))
            yield frame
            del frame

    assert sum(1 for _ in Upscaler(Double(), 2)(film(), never, Pieces(6, 2))) == 120
    # A window, the 4 frames that the next one adds, those that the one after it adds, and one on its way.
    assert most <= 6 + 4 + 4 + 1


class TestOutOfMemory:
    def test_smaller_pieces_give_the_same(self, caplog):
        frames = [np.random.default_rng(i).integers(0, 256, (10, 100, 3), np.uint8) for i in range(20)]
        network = Double(most=8 * 10 * 58)
        np.testing.assert_equal(list(Upscaler(network, 2)(frames, never, Pieces(16, 5))), doubled(frames))
        assert [record.getMessage() for record in caplog.records] == [
            f"Out of memory with windows of {before}; going on with windows of {after}."
            for before, after in (
                ("16 frames, whole frames", "16 frames, tiles of 58x58"),
                ("16 frames, tiles of 58x58", "8 frames, tiles of 58x58"),
            )
        ]
        # The first window fails twice; what fitted is taken from then on.
        assert max(shape[1] * shape[-2] * shape[-1] for shape in network.shapes[2:]) == 8 * 10 * 58

    def test_when_nothing_smaller_is_left(self):
        message = "out of memory on cpu even with windows of 8 frames, whole frames: close other programs on it"
        with pytest.raises(UserError, match=f"^{message}$"):
            list(Upscaler(Double(most=1), 2)(numbered(20), never, Pieces(16, 5)))


class TestPlan:
    def test_enough_memory(self):
        pieces, size, seconds = Upscaler(Double(), 2, memory=2**30).plan(16, 24)
        assert pieces == Pieces()
        assert 0 < size < 2**30
        assert seconds > 0

    def test_what_the_user_says(self):
        assert Upscaler(Double(), 2, window=7, tile=0, memory=2**30).plan(16, 24)[0] == Pieces(7, 2)

    def test_little_memory_makes_shorter_windows(self):
        assert Upscaler(Double(), 2, memory=2**20).plan(64, 96)[0].window < 32

    def test_too_little(self):
        with pytest.raises(UserError, match=r"of memory are needed even in the smallest pieces, .* with --memory$"):
            Upscaler(Double(), 2, memory=2**16).plan(64, 96)


@pytest.mark.slow
@pytest.mark.data
def test_pieces_against_the_whole_on_real_frames(vsrm_data):
    import cv2

    from vsrm_arch.data.bicubic import downscale
    from vsrm_arch.inference import load

    files = sorted((vsrm_data / "val/davis_goat").iterdir())[:6]
    truth = np.stack([cv2.imread(str(file))[:256, :256, ::-1] for file in files])
    lq = torch.from_numpy(np.stack([downscale(np.ascontiguousarray(frame), 4) for frame in truth])) / 255
    lq = lq.permute(0, 3, 1, 2)[None]
    network = load("sample").network
    whole = super_resolve(network, lq, scale=4)[0]
    parts = super_resolve(network, lq, scale=4, window=4, window_overlap=2, tile=40, tile_overlap=16)[0]
    target = torch.from_numpy(truth / 255).permute(0, 3, 1, 2)

    def psnr(clip):
        return float(-10 * (clip.clamp(0, 1) - target).square().mean().log10())

    assert psnr(parts) == pytest.approx(psnr(whole), abs=0.05)
    # Tiles overlap in the columns 96 to 160.
    error = (parts - target).abs()
    inside = torch.cat([error[..., :96], error[..., 160:]], dim=-1)
    assert error[..., 96:160].mean() <= 2 * inside.mean()
