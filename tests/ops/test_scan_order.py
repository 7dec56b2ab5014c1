import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrm_arch.ops.scan_order import Visit, check_scan_order


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((6, "s2s", 2), "scan_order: expected 's2t' or 't2s', got 's2s'"),
        ((6, "t2s", 4), "num_frames: expected a divisor of the 6 tokens, got 4"),
        ((6, "s2t", 0), "num_frames: expected a divisor of the 6 tokens, got 0"),
    ],
)
def test_wrong_order(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_scan_order(*arguments)


@pytest.mark.parametrize(
    ("scan_order", "reverse", "order"),
    [
        ("s2t", False, [0, 1, 2, 3, 4, 5]),
        ("s2t", True, [5, 4, 3, 2, 1, 0]),
        ("t2s", False, [0, 3, 1, 4, 2, 5]),
        ("t2s", True, [5, 2, 4, 1, 3, 0]),
    ],
)
def test_two_frames_of_three_positions(scan_order, reverse, order):
    tokens = torch.arange(6)[None]
    visit = Visit(6, scan_order, 2, reverse)
    assert visit.visited(tokens)[0].tolist() == order
    # Ranges are counted from the start of the order.
    assert visit.take(tokens, 1, 4)[0].tolist() == (order[::-1] if reverse else order)[1:4]


@settings(max_examples=50, deadline=None)
@given(
    scan_order=st.sampled_from(["s2t", "t2s"]),
    reverse=st.booleans(),
    frames=st.integers(1, 5),
    size=st.integers(1, 7),
    data=st.data(),
)
def test_take_put_and_back_agree(scan_order, reverse, frames, size, data):
    length = frames * size
    tokens = torch.arange(2 * length * 3).view(2, length, 3)
    visit = Visit(length, scan_order, frames, reverse)
    visited = visit.visited(tokens)
    assert torch.equal(visit.back(visited), tokens)
    visited = visited.flip(1) if reverse else visited
    first = data.draw(st.integers(0, length - 1))
    last = data.draw(st.integers(first + 1, length))
    assert torch.equal(visit.take(tokens, first, last), visited[:, first:last])
    written = torch.zeros_like(tokens)
    visit.put(written, first, last, visited[:, first:last])
    assert torch.equal(visit.take(written, first, last), visited[:, first:last])
    assert written.count_nonzero() == visited[:, first:last].count_nonzero()
