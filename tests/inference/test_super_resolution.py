import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vsrm_arch.errors import UserError
from vsrm_arch.inference import run_in_tiles, run_in_windows, super_resolve, with_mirror
from vsrm_arch.inference.spans import spans
from vsrm_arch.sizes import SizeRequirements

sides = st.integers(1, 23)


@st.composite
def pieces(draw):
    size = draw(st.integers(1, 12))
    return size, draw(st.integers(0, size - 1))


def nearest(lq):
    """A network of one pixel's reach: x2, curved."""
    return nn.functional.interpolate(lq.flatten(0, 1), scale_factor=2).unflatten(0, lq.shape[:2]) ** 2 + 0.1


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 40), piece=pieces())
def test_spans_cover_every_position_with_at_least_the_overlap(length, piece):
    size, overlap = piece
    covering = spans(length, size, overlap, "window")
    assert covering[0][0] == 0
    assert covering[-1][1] == length
    assert all(end - start == min(size, length) for start, end in covering)
    for (start, end), (next_start, next_end) in itertools.pairwise(covering):
        assert start < next_start
        assert end < next_end
        assert end - next_start >= overlap


@settings(max_examples=60, deadline=None)
@given(T=st.integers(1, 14), H=sides, W=sides, window=pieces(), tile=pieces(), minimum=st.integers(1, 9))
def test_pieces_of_a_pointwise_network_give_the_whole_exactly(T, H, W, window, tile, minimum):
    lq = torch.rand(1, T, 3, H, W)
    output = super_resolve(
        nearest,
        lq,
        scale=2,
        window=window[0],
        window_overlap=window[1],
        tile=tile[0],
        tile_overlap=tile[1],
        requirements=SizeRequirements(minimum=minimum, multiple_of=3),
    )
    assert torch.equal(output, nearest(lq))


@settings(max_examples=40, deadline=None)
@given(H=sides, W=sides, tile=pieces())
def test_each_tile_of_a_blend_has_a_weight_between_zero_and_one(H, W, tile):
    """Tiles of different constants: the blend stays inside their range."""
    values = iter(range(10**6))
    frames = run_in_tiles(lambda lq: torch.full_like(lq, next(values)), torch.zeros(1, 1, 1, H, W), 1, *tile)
    assert frames.min() >= 0
    assert frames.max() < next(values)


def test_tiles_are_cross_faded_with_a_linear_ramp():
    values = iter([0.0, 1.0])
    frames = run_in_tiles(
        lambda lq: torch.full_like(lq, next(values)), torch.zeros(1, 1, 1, 1, 8), 1, size=6, overlap=4
    )
    assert frames.flatten().tolist() == [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]


def test_each_frame_comes_from_the_window_where_it_lies_deeper():
    numbers = iter(range(10))
    lq = torch.zeros(1, 9, 1, 1, 1)
    clip = run_in_windows(lambda lq: torch.full_like(lq, next(numbers)), lq, num_frame=5, overlap=2)
    assert clip.flatten().tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]


def test_a_window_sees_its_context():
    """A network that reaches one frame back and forth gives the whole clip's output from an overlap of two on."""

    def smooth(lq):
        padded = torch.cat([lq[:, :1], lq, lq[:, -1:]], dim=1)
        return padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]

    lq = torch.rand(1, 23, 1, 2, 2)
    assert torch.equal(run_in_windows(smooth, lq, num_frame=5, overlap=2), smooth(lq))
    assert not torch.equal(run_in_windows(smooth, lq, num_frame=5, overlap=1), smooth(lq))


def test_output_lies_on_the_cpu_in_float32():
    output = super_resolve(lambda lq: lq.bfloat16(), torch.rand(2, 3, 3, 4, 4), scale=1)
    assert output.dtype == torch.float32
    assert output.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("pieces", [{}, {"tile": 3, "tile_overlap": 1}, {"window": 3, "window_overlap": 1}])
def test_whole_numbers_give_whole_numbers(dtype, pieces):
    most = torch.iinfo(dtype).max
    lq = torch.randint(0, most + 1, (1, 5, 3, 4, 6)).to(dtype)
    # Beyond the range at both ends.
    output = super_resolve(lambda lq: 1.5 * nearest(lq) - 0.3, lq, scale=2, **pieces)
    expected = 1.5 * nearest(lq.float() / most) - 0.3
    assert output.dtype == dtype
    assert torch.equal(output.int(), (expected * most).round().clamp(0, most).int())
    assert output[0, 0].movedim(0, -1).is_contiguous() or pieces


def test_what_is_no_clip():
    with pytest.raises(UserError, match=r"^lq is \(5, 3, 4, 4\); it must be a clip \(batch, frames, RGB, "):
        super_resolve(nearest, torch.rand(5, 3, 4, 4), scale=2)


def test_no_graph_is_kept():
    network = nn.Upsample(scale_factor=(1, 2, 2))
    assert not super_resolve(network, torch.rand(1, 1, 3, 4, 4, requires_grad=True), scale=2).requires_grad


def test_mirror_averages_both_directions():
    def cumulate(lq):
        return lq.cumsum(1)

    lq = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1, 1)
    # The clip and its mirror: 1 2 4 4 2 1 → sums 1 3 7 11 13 14; averages (1 + 14) / 2, (3 + 13) / 2, (7 + 11) / 2.
    assert with_mirror(cumulate)(lq).flatten().tolist() == [7.5, 8.0, 9.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 4, "window_overlap": 4}, "window (num_frame, overlap): the overlap is 4; it must be at least 0"),
        ({"window": 0}, "window (num_frame, overlap): its size is 0; it must be at least 1"),
        ({"tile": 4, "tile_overlap": -1}, "tile (size, overlap): the overlap is -1; it must be at least 0"),
        ({"scale": 4}, "into (1, 6, 3, 10, 12), but with scale 4 it must give (1, 6, 3, 20, 24): set scale"),
    ],
)
def test_faults_are_told(arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        super_resolve(nearest, torch.rand(1, 6, 3, 5, 6), **{"scale": 2} | arguments)
