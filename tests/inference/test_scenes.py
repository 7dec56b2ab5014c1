import numpy as np
import pytest

from vsrm_arch.inference.scenes import SceneCuts


def cuts(frames):
    is_cut = SceneCuts()
    return [i for i, frame in enumerate(frames) if is_cut(frame)]


def waves(shift=0, height=48, width=72, period=36):
    row = 128 + 100 * np.sin(2 * np.pi * (np.arange(width) + shift) / period)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_cut_between_two_pictures(dtype):
    first, second = waves(), 255 - waves()
    frames = [image.astype(dtype) * (np.iinfo(dtype).max // 255) for image in [first] * 3 + [second] * 3]
    assert cuts(frames) == [3]


def test_none_in_one_picture_or_slow_motion():
    assert cuts([waves()] * 4) == []
    assert cuts([waves(i) for i in range(12)]) == []


def test_none_in_steady_fast_motion():
    # Only the first difference of all has nothing to be compared with.
    assert [i for i in cuts([waves(13 * i) for i in range(12)]) if i > 1] == []


def test_none_in_a_fade():
    assert cuts([np.full((16, 24, 3), 10 * i, np.uint8) for i in range(26)]) == []


def test_a_cut_in_slow_motion():
    assert cuts([*(waves(i) for i in range(5)), *(255 - waves(i) for i in range(5))]) == [5]


@pytest.mark.data
@pytest.mark.parametrize("name", ["stream_480x360_audio", "skiing_718x718_audio"])
def test_none_in_real_shots(vsrm_data, name):
    pytest.importorskip("av")
    from vsrm_arch.video import VideoFile

    assert cuts(image for image, _ in VideoFile.look_at(vsrm_data / f"videos/{name}.mp4").frames()) == []
