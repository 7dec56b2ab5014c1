import re

import pytest
import torch
from torch import nn

from vsrm_arch.errors import UserError
from vsrm_arch.inference import Upscaler
from vsrm_arch.inference.fitting import _MARGIN, Cost, Pieces, fit_pieces, measure_cost
from vsrm_arch.sizes import SizeRequirements

# With its margin, a pixel of a frame costs a byte.
BYTE = Cost(fixed=0, each=0, kept=1 / _MARGIN, seconds=0)


def test_bytes():
    assert Cost(fixed=100, each=10, kept=2, seconds=0).bytes(3, 20) == round(_MARGIN * 420)


# 100 x 100 pixels; two tiles in a row have 58 pixels, three would be too small.
@pytest.mark.parametrize(
    ("budget", "pieces"),
    [
        (10**9, Pieces(32, 6)),
        (320_000, Pieces(32, 6)),
        (319_999, Pieces(24, 6)),
        (239_999, Pieces(16, 5)),
        (80_000, Pieces(8, 2)),
        (79_999, Pieces(16, 5, 58, 16)),
        (8 * 58 * 58, Pieces(8, 2, 58, 16)),
    ],
)
def test_whole_frames_then_shorter_windows_then_tiles(budget, pieces):
    assert fit_pieces(BYTE, 100, 100, budget) == pieces


def test_what_the_user_says_is_kept():
    assert fit_pieces(BYTE, 100, 100, 10**9, window=5) == Pieces(5, 1)
    assert fit_pieces(BYTE, 100, 100, 10**9, tile=40) == Pieces(32, 6, 40, 13)
    assert fit_pieces(BYTE, 100, 100, 10**9, most_frames=10) == Pieces(10, 3)
    assert fit_pieces(BYTE, 100, 100, 80_000, tile=0) == Pieces(8, 2)


@pytest.mark.parametrize(("tile", "budget", "least"), [(None, 20, "25"), (0, 70, "75"), (None, 24.5, "25")])
def test_nothing_fits(tile, budget, least):
    message = (
        f"{least} GiB of memory are needed even in the smallest pieces, and {budget:.0f} GiB may be used: close other "
        "programs, or give more with --memory"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        fit_pieces(Cost(0, 0, 1e6 / _MARGIN, 0), 100, 100, int(budget * 2**30), tile=tile)


def test_what_is_held_besides_counts():
    assert fit_pieces(BYTE, 100, 100, 320_000, held=80_000) == Pieces(24, 6)
    with pytest.raises(UserError, match=r"^2 GiB of memory are needed .* and 1 GiB may be used"):
        fit_pieces(BYTE, 100, 100, 2**30, held=2 * 2**30 - 1)


def test_more_than_a_hundred_gib_are_told_in_digits():
    with pytest.raises(UserError, match=r"^745 GiB of memory are needed .* and 128 GiB may be used"):
        fit_pieces(Cost(0, 0, 1e7 / _MARGIN, 0), 100, 100, 128 * 2**30, tile=0)


def test_halved_until_nothing_is_left():
    pieces = Pieces()
    found = []
    while pieces:
        found.append(str(pieces))
        pieces = pieces.halved(180, 320)
    assert found == [
        "windows of 32 frames, whole frames",
        "windows of 32 frames, tiles of 168x168",
        "windows of 32 frames, tiles of 92x92",
        "windows of 16 frames, tiles of 92x92",
        "windows of 8 frames, tiles of 92x92",
    ]


def test_cost_of_a_known_network():
    """Twice the side, and what it makes is all that it takes: 3 channels, 4 bytes, 4 pixels of each."""
    network = nn.Upsample(scale_factor=(1, 2, 2))
    cost = measure_cost(network, torch.device("cpu"), SizeRequirements())
    assert (cost.fixed, cost.each, cost.kept) == pytest.approx((0, 0, 48), abs=0.01)
    assert 0 < cost.seconds < 1e-3


def test_cost_that_does_not_grow_with_the_clip():
    def enlarge(clip):
        table = torch.zeros(1000)  # 4000 bytes
        once = clip[:, 0] * 1.0  # 12 bytes a pixel
        result = clip * 1.0  # 12 a frame
        del table, once
        return result

    cost = measure_cost(enlarge, torch.device("cpu"), SizeRequirements())
    assert (cost.fixed, cost.each, cost.kept) == pytest.approx((4000, 12, 12), abs=0.01)


def test_sizes_that_are_given_are_not_measured(monkeypatch):
    def measured(*_):
        raise AssertionError("measured")

    monkeypatch.setattr("vsrm_arch.inference.streaming.measure_cost", measured)
    network = torch.nn.Upsample(scale_factor=(1, 2, 2))
    assert Upscaler(network, 2, window=8, tile=0).pieces(100, 200) == Pieces(8, 2)
    assert Upscaler(network, 2, window=8, tile=200).pieces(100, 200) == Pieces(8, 2)
    assert Upscaler(network, 2, window=8, tile=64).pieces(100, 200) == Pieces(8, 2, 64, 16)
    with pytest.raises(AssertionError, match="measured"):
        Upscaler(network, 2, window=8).pieces(100, 200)
