"""`prepare vimeo90k` on a small copy of the official layout, read by BasicSR's own data sets."""

import logging
import random
from functools import partial

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from vsrm_arch.data import VideoClipDataset
from vsrm_arch.data.bicubic import downscale
from vsrm_arch.data.images import read_image
from vsrm_arch.data.prepare import vimeo90k
from vsrm_arch.data.prepare.vimeo90k import find_vimeo90k
from vsrm_arch.data.sources import open_frames
from vsrm_arch.errors import UserError

prepare_vimeo90k = partial(vimeo90k.prepare_vimeo90k, size=(32, 48))
TRAIN, TEST = ["00001/0001", "00001/0003", "00002/0001"], ["00001/0002", "00003/0001"]


@pytest.fixture
def septuplets(tmp_path, write_clip, noise_frame):
    root = tmp_path / "vimeo_septuplet"
    for name in TRAIN + TEST:

        def image(index, height, width, scale, name=name):
            return noise_frame(index + 10 * int(name.replace("/", "")), height, width, scale)

        write_clip(root / "sequences" / name, 8, 32, 48, name="im{}.png", image=image)
        (root / "sequences" / name / "im0.png").unlink()
    (root / "sep_trainlist.txt").write_text("\n".join(TRAIN) + "\n")
    (root / "sep_testlist.txt").write_text("\n".join(TEST) + "\n\n")
    return root


@pytest.fixture
def prepared(septuplets, tmp_path):
    prepare_vimeo90k(septuplets, tmp_path / "datasets", workers=2)
    return tmp_path / "datasets/vimeo90k"


def test_layout(prepared, septuplets, log):
    assert sorted(path.name for path in prepared.iterdir()) == [
        "meta_info_Vimeo90K_test_GT.txt",
        "meta_info_Vimeo90K_train_GT.txt",
        "vimeo90k_train_GT.lmdb",
        "vimeo90k_train_LR7frames.lmdb",
        "vimeo_septuplet",
        "vimeo_septuplet_matlabLRx4",
    ]
    gt = open_frames(prepared / "vimeo90k_train_GT.lmdb")
    assert gt.clips["00001/0003"] == tuple(f"00001/0003/im{i}" for i in range(1, 8))
    assert list(gt.clips) == TRAIN
    assert (prepared / "meta_info_Vimeo90K_train_GT.txt").read_text().splitlines()[1] == "00001/0003 7 (32,48,3)"
    assert (prepared / "meta_info_Vimeo90K_test_GT.txt").read_text() == "".join(f"{n} 7 (32,48,3)\n" for n in TEST)
    assert (prepared / "vimeo_septuplet").samefile(septuplets)
    low = read_image(prepared / "vimeo_septuplet_matlabLRx4/sequences/00003/0001/im5.png")
    high = read_image(septuplets / "sequences/00003/0001/im5.png")
    np.testing.assert_array_equal(low, downscale(high, 4))


def test_stock_training_set(prepared, monkeypatch):
    monkeypatch.setattr("basicsr.data.vimeo90k_dataset.get_root_logger", lambda: logging.getLogger("test"))
    opt = {"name": "Vimeo90K", "phase": "train", "scale": 4, "num_frame": 7, "gt_size": 16, "random_reverse": False}
    opt |= {"dataroot_gt": str(prepared / "vimeo90k_train_GT.lmdb"), "use_hflip": True, "use_rot": True}
    opt |= {"dataroot_lq": str(prepared / "vimeo90k_train_LR7frames.lmdb"), "io_backend": {"type": "lmdb"}}
    opt |= {"meta_info_file": str(prepared / "meta_info_Vimeo90K_train_GT.txt")}
    centre = build_dataset(opt | {"type": "Vimeo90KDataset"})
    assert len(centre) == 3
    # Ours draws a step first, also where there is but one.
    random.seed(1)
    random.choice([1])
    one = centre[2]
    assert one["lq"].shape == (7, 3, 4, 4)
    assert one["gt"].shape == (3, 16, 16)
    for environment in centre.file_client.client._client.values():
        environment.close()
    recurrent = build_dataset(opt | {"type": "Vimeo90KRecurrentDataset", "flip_sequence": True})
    random.seed(1)
    random.choice([1])
    theirs = recurrent[2]
    for environment in recurrent.file_client.client._client.values():
        environment.close()
    ours = VideoClipDataset(opt | {"type": "VideoClipDataset", "mirror": True})
    assert len(ours) == 3 * 7
    random.seed(1)
    mine = ours[14]
    assert mine["gt"].shape == (14, 3, 16, 16)
    assert torch.equal(mine["gt"], theirs["gt"])
    assert torch.equal(mine["lq"], theirs["lq"])
    assert torch.equal(mine["gt"][3], one["gt"])


def test_stock_test_set(prepared, monkeypatch):
    monkeypatch.setattr("basicsr.data.video_test_dataset.get_root_logger", lambda: logging.getLogger("test"))
    opt = {"name": "Vimeo90K", "phase": "test", "scale": 4}
    opt |= {"dataroot_gt": str(prepared / "vimeo_septuplet/sequences")}
    opt |= {"dataroot_lq": str(prepared / "vimeo_septuplet_matlabLRx4/sequences")}
    opt |= {"meta_info_file": str(prepared / "meta_info_Vimeo90K_test_GT.txt")}
    stock = {"type": "VideoTestVimeo90KDataset", "cache_data": False, "num_frame": 7, "io_backend": {"type": "disk"}}
    theirs = build_dataset(opt | stock)
    ours = VideoClipDataset(opt | {"type": "VideoClipDataset"})
    assert len(theirs) == len(ours) == 2
    for i in range(2):
        assert torch.equal(ours[i]["lq"], theirs[i]["lq"])
        assert torch.equal(ours[i]["gt"][3], theirs[i]["gt"])


def test_scale_2(septuplets, tmp_path):
    prepare_vimeo90k(septuplets, tmp_path / "datasets", scale=2, workers=1)
    low = open_frames(tmp_path / "datasets/vimeo90k/vimeo90k_train_LR7frames_X2.lmdb")
    assert low.sizes["00002/0001"] == (16, 24)
    assert (tmp_path / "datasets/vimeo90k/vimeo_septuplet_matlabLRx2/sequences/00001/0002/im7.png").is_file()


def test_in_its_usual_place_no_link_is_made(septuplets, tmp_path):
    (tmp_path / "datasets/vimeo90k").mkdir(parents=True)
    place = septuplets.rename(tmp_path / "datasets/vimeo90k/vimeo_septuplet")
    prepare_vimeo90k(place, tmp_path / "datasets", workers=1)
    assert not place.is_symlink()


def test_counts_are_compared_with_the_official_ones(prepared, septuplets, tmp_path, log):
    prepare_vimeo90k(septuplets, tmp_path / "datasets", workers=1)
    assert any("sep_trainlist.txt names 3 septuplets, the official list 64612" in line for line in log)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("sep_testlist.txt", r"sep_testlist\.txt does not exist; name the unpacked vimeo_septuplet folder"),
        ("sequences/00001/0003/im4.png", r"00001/0003/im4\.png is missing, sep_trainlist\.txt names it; unpack"),
        ("sequences/00003/0001", r"00003/0001/im1\.png is missing, sep_testlist\.txt names it"),
    ],
)
def test_incomplete(septuplets, tmp_path, missing, message):
    path = septuplets / missing
    path.rename(tmp_path / "away")
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*$"):
        prepare_vimeo90k(septuplets, tmp_path / "datasets", workers=1)


def test_official_size(septuplets, tmp_path):
    message = r"^[^\n]*00001/0001/im1\.png is 48x32, expected 448x256; is this the low resolution\?[^\n]*$"
    with pytest.raises(UserError, match=message):
        find_vimeo90k(septuplets, "sep_trainlist.txt")
    with pytest.raises(UserError, match=message):
        vimeo90k.prepare_vimeo90k(septuplets, tmp_path / "datasets")
    assert not (tmp_path / "datasets").exists()


def test_a_later_septuplet_of_another_size(septuplets, tmp_path, write_clip):
    write_clip(septuplets / "sequences/00002/0001", 8, 16, 24, name="im{}.png")
    with pytest.raises(UserError, match=r"00002/0001/im1\.png has 24x16 pixels, its clip 48x32"):
        prepare_vimeo90k(septuplets, tmp_path / "datasets", workers=1)
