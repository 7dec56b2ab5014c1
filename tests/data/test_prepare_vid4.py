"""`prepare vid4`."""

import logging

import numpy as np
import pytest
from basicsr.data import build_dataset

from vsrm_arch.data import VideoClipDataset
from vsrm_arch.data.images import read_image
from vsrm_arch.data.prepare import vid4 as module
from vsrm_arch.data.prepare.vid4 import VID4, prepare_vid4
from vsrm_arch.errors import UserError


@pytest.fixture
def original(tmp_path, write_clip, noise_frame, monkeypatch):
    """The four clips, with small frames."""
    monkeypatch.setattr(module, "VID4", {clip: (count, (32, 34)) for clip, (count, _) in VID4.items()})
    for clip, (count, _) in VID4.items():
        write_clip(tmp_path / "Vid4" / clip, count, 32, 34, name="Frame {:03d}.png", image=noise_frame)
    return tmp_path / "Vid4"


def test_four_clips(original, tmp_path, monkeypatch):
    monkeypatch.setattr("basicsr.data.video_test_dataset.get_root_logger", lambda: logging.getLogger("test"))
    prepare_vid4(original, tmp_path / "datasets", workers=2)
    vid4 = tmp_path / "datasets/Vid4"
    assert (vid4 / "meta_info_Vid4_GT.txt").read_text().splitlines()[:2] == [
        "calendar 41 (32,32,3)",
        "city 34 (32,32,3)",
    ]
    opt = {"name": "Vid4", "phase": "test", "scale": 4, "dataroot_gt": str(vid4 / "GT")}
    opt |= {"dataroot_lq": str(vid4 / "BIx4")}
    stock = {"type": "VideoRecurrentTestDataset", "cache_data": True, "num_frame": -1, "io_backend": {"type": "disk"}}
    theirs, ours = build_dataset(opt | stock), VideoClipDataset(opt | {"type": "VideoClipDataset"})
    assert theirs.folders == ours.folders == list(VID4)
    for i in range(4):
        for key in ("lq", "gt"):
            assert np.array_equal(theirs[i][key], ours[i][key])


def test_ground_truth_in_place_is_left_alone(original, tmp_path):
    (tmp_path / "datasets/Vid4").mkdir(parents=True)
    place = original.rename(tmp_path / "datasets/Vid4/GT")
    prepare_vid4(place.parent, tmp_path / "datasets", scale=2, workers=2)
    assert sorted(path.name for path in place.parent.iterdir()) == ["BIx2", "GT", "meta_info_Vid4_GT.txt"]
    assert (place / "city/Frame 000.png").is_file()
    assert read_image(place.parent / "BIx2/city/00000000.png").shape == (16, 17, 3)


def test_missing_clip(original, tmp_path):
    (original / "foliage").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"^.*foliage does not exist; fetch the clip, or name those .* with --clips$"):
        prepare_vid4(original, tmp_path / "datasets")
    prepare_vid4(original, tmp_path / "datasets", clips=["walk", "city"], workers=1)
    assert sorted(path.name for path in (tmp_path / "datasets/Vid4/GT").glob("[!.]*")) == ["city", "walk"]


def test_missing_frame(original, tmp_path):
    (original / "walk/Frame 007.png").unlink()
    with pytest.raises(UserError, match=r"^.*walk has 46 frames, Vid4's walk has 47; fetch it again$"):
        prepare_vid4(original, tmp_path / "datasets")


def test_official_sizes(tmp_path, write_clip):
    for clip, (count, (height, width)) in VID4.items():
        write_clip(tmp_path / "low" / clip, count, height // 4, width // 4)
        write_clip(tmp_path / "high" / clip, count, 4, 4)
        write_clip(tmp_path / "high" / clip, 1, height, width + 4)
    for clip, size, expected in (("calendar", "180x144", "720x576"), ("walk", "180x120", "720x480")):
        with pytest.raises(
            UserError,
            match=rf"^[^\n]*low/{clip}/00000000\.png is {size}, expected {expected}; is this the low resolution\? \(",
        ):
            prepare_vid4(tmp_path / "low", tmp_path / "datasets", clips=[clip])
    with pytest.raises(UserError, match="png is 708x576, expected 704x576; fetch the official frames"):
        prepare_vid4(tmp_path / "high", tmp_path / "datasets", clips=["city"])
    assert not (tmp_path / "datasets").exists()


@pytest.mark.data
def test_real_low_resolution_is_no_ground_truth(vsrm_data, tmp_path):
    with pytest.raises(UserError, match=r"BIx4/calendar/.* is 180x144, expected 720x576; is this the low resolution"):
        prepare_vid4(vsrm_data / "Vid4/BIx4", tmp_path)


@pytest.mark.data
def test_real_vid4(vsrm_data, tmp_path):
    prepare_vid4(vsrm_data / "Vid4", tmp_path, clips=["city"], workers=2)
    made = sorted((tmp_path / "Vid4/BIx4/city").iterdir())
    given = sorted((vsrm_data / "Vid4/BIx4/city").iterdir())
    assert len(made) == len(given) == 34
    for mine, theirs in zip(made, given, strict=True):
        assert np.abs(read_image(mine).astype(int) - read_image(theirs)).max() <= 1
