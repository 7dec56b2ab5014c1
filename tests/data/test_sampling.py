"""vsrm_arch.data.sampling: what windows hold, whatever the numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsrm_arch.data.sampling import mirrored, reach, reflect, window

COUNT = st.integers(1, 40)


@given(length=COUNT, num_frame=st.integers(1, 30), interval=st.integers(1, 5), data=st.data())
def test_a_window_that_fits_is_an_arithmetic_series(length, num_frame, interval, data):
    if reach(num_frame, interval) > length:
        length = reach(num_frame, interval)
    start = data.draw(st.integers(0, length - reach(num_frame, interval)))
    indices = window(start, num_frame, interval, length)
    assert indices == list(range(start, start + num_frame * interval, interval))
    assert indices[-1] - indices[0] + 1 == reach(num_frame, interval)


@given(length=COUNT, num_frame=st.integers(1, 30), interval=st.integers(1, 5), data=st.data())
def test_any_window_stays_in_the_clip(length, num_frame, interval, data):
    indices = window(data.draw(st.integers(0, length - 1)), num_frame, interval, length)
    assert len(indices) == num_frame
    assert all(0 <= i < length for i in indices)


@given(length=COUNT, index=st.integers(-100, 100))
def test_reflect_is_numpys(length, index):
    padded = np.pad(np.arange(length), 100, mode="reflect")
    assert reflect(index, length) == (padded[index + 100] if index < length + 100 else padded[-1])


@pytest.mark.parametrize(("num_frame", "interval", "frames"), [(1, 1, 1), (7, 1, 7), (7, 2, 13), (1, 9, 1)])
def test_reach(num_frame, interval, frames):
    assert reach(num_frame, interval) == frames


def test_mirrored():
    assert mirrored([3, 4, 5]) == [3, 4, 5, 5, 4, 3]


def test_bounce_by_hand():
    assert window(3, 6, 1, 5) == [3, 4, 3, 2, 1, 0]
    assert window(0, 4, 1, 1) == [0, 0, 0, 0]
