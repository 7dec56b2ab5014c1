import weakref

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrm_arch.inference.spans import spans
from vsrm_arch.inference.windows import windows


@st.composite
def pieces(draw):
    size = draw(st.integers(1, 12))
    return size, draw(st.integers(0, size - 1))


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, 60), piece=pieces())
def test_windows_of_a_stream_are_the_spans_and_give_each_frame_once(length, piece):
    size, overlap = piece
    found = list(windows(iter(range(length)), size, overlap))
    assert [frame for window in found for frame in window.frames[window.start : window.stop]] == list(range(length))
    assert [window.frames[0] for window in found] == [window.position for window in found]
    if length:
        reached = [(window.position, window.position + len(window.frames)) for window in found]
        assert reached == spans(length, size, overlap, "window")


def test_two_windows_are_held_at_most():
    alive, most = [], 0

    def stream():
        nonlocal most
        for _ in range(200):
            frame = np.zeros(1)
            alive.append(weakref.ref(frame))
            most = max(most, sum(ref() is not None for ref in alive))
            yield frame
            del frame

    for window in windows(stream(), size=6, overlap=2):
        del window
    assert most <= 2 * 6
