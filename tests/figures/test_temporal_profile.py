"""A row of pixels over time."""

import cv2
import numpy as np
import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.figures.renditions import Rendition
from vsrm_arch.figures.temporal_profile import draw_profiles, temporal_profile

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)
CLIP = Rendition("net", {i: lambda i=i: FRAMES[i] for i in reversed(range(5))})


def test_a_row_of_each_frame_the_first_on_top():
    np.testing.assert_array_equal(temporal_profile(CLIP, 3, slice(None)), FRAMES[:, 3])
    np.testing.assert_array_equal(temporal_profile(CLIP, 7, slice(2, 5)), FRAMES[:, 7, 2:5])


def test_one_frame_shows_nothing_over_time():
    with pytest.raises(UserError, match=r"^net has one frame of the clip alone"):
        temporal_profile(Rendition("net", {3: lambda: FRAMES[3]}), 0, slice(None))


@pytest.mark.parametrize("methods", [1, 3])
def test_a_picture(tmp_path, methods):
    pytest.importorskip("matplotlib", reason="needs matplotlib: the extra plot")
    profiles = {f"net {i}": temporal_profile(CLIP, 3, slice(None)) for i in range(methods)}
    draw_profiles(tmp_path / "a.png", "clip, frame 2, row 3", FRAMES[2], 3, slice(None), profiles)
    drawn = cv2.imread(str(tmp_path / "a.png"))
    # The line, and the profiles' own colours.
    assert (drawn == (0, 0, 255)).all(2).sum() > 50
    for colour in FRAMES[0, 3, :3]:
        assert (drawn == colour).all(2).any()
