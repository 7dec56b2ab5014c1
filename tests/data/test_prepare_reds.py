"""`prepare reds` on a small copy of the official layout, read by BasicSR's own data sets."""

import json
import logging
import random
import shutil

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from vsrm_arch.data import VideoClipDataset
from vsrm_arch.data.bicubic import downscale
from vsrm_arch.data.images import image_size
from vsrm_arch.data.prepare.reds import REDS4, find_reds, prepare_reds
from vsrm_arch.data.sources import open_frames
from vsrm_arch.errors import UserError

# 21 of the 240 training clips hold REDS4's; BasicSR's data set wants clips of 100 frames.
COUNTS = {"train": 21, "val": 1, "frames": 100, "size": (16, 24)}


def frame(clip, index, scale):
    """Blocks of one colour that tell clip and frame."""
    image = np.full((4, 6, 3), (index, clip, 0), np.uint8)
    image[..., 2] = np.arange(6) * 40
    return image.repeat(scale, 0).repeat(scale, 1)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    root = tmp_path_factory.mktemp("official")
    for part, first, count in (("train", 0, 21), ("val", 100, 1)):
        for clip in range(count):
            for folder, scale in ((f"{part}_sharp", 4), (f"{part}_sharp_bicubic/X4", 1)):
                target = root / part / folder / f"{clip:03d}"
                target.mkdir(parents=True)
                for i in range(100):
                    cv2.imwrite(str(target / f"{i:08d}.png"), frame(first + clip, i, scale))
    return root


@pytest.fixture(scope="module")
def prepared(official, tmp_path_factory):
    output = tmp_path_factory.mktemp("datasets")
    prepare_reds(official, output, workers=2, **COUNTS)
    return output


def test_layout(prepared):
    assert sorted(str(p.relative_to(prepared)) for p in [*prepared.glob("*/*")]) == [
        "REDS/meta_info_REDS_GT.txt",
        "REDS/train_sharp_bicubic_with_val.lmdb",
        "REDS/train_sharp_with_val.lmdb",
        "REDS4/GT",
        "REDS4/meta_info_REDS4_test_GT.txt",
        "REDS4/sharp_bicubic",
    ]
    clips = [f"{i:03d}" for i in [*range(21), 240]]
    lines = [f"{clip} 100 (16,24,3)\n" for clip in clips]
    assert (prepared / "REDS/meta_info_REDS_GT.txt").read_text() == "".join(lines)
    source = open_frames(prepared / "REDS/train_sharp_with_val.lmdb")
    assert list(source.clips) == clips
    assert source.clips["240"][7] == "240/00000007"
    # The validation clips are those of val_sharp.
    assert source.read("240", [7])[0][0, 0].tolist() == [0, 100, 7]
    assert sorted(p.name for p in (prepared / "REDS4/GT").glob("[!.]*")) == list(REDS4)
    assert len(list((prepared / "REDS4/sharp_bicubic/011").iterdir())) == 100


def test_official_low_resolution_is_taken(prepared):
    low = open_frames(prepared / "REDS/train_sharp_bicubic_with_val.lmdb").read("003", [42])[0]
    np.testing.assert_array_equal(low, frame(3, 42, 1)[..., ::-1])


def test_stock_training_set(prepared, monkeypatch):
    monkeypatch.setattr("basicsr.data.reds_dataset.get_root_logger", lambda: logging.getLogger("test"))
    reds = prepared / "REDS"
    opt = {"name": "REDS", "phase": "train", "scale": 4, "num_frame": 6, "gt_size": 16, "interval_list": [1]}
    opt |= {"dataroot_gt": str(reds / "train_sharp_with_val.lmdb"), "random_reverse": False}
    opt |= {"dataroot_lq": str(reds / "train_sharp_bicubic_with_val.lmdb"), "use_hflip": True, "use_rot": True}
    opt |= {"io_backend": {"type": "lmdb"}}
    stock = {"type": "REDSRecurrentDataset", "meta_info_file": str(reds / "meta_info_REDS_GT.txt")}
    theirs = build_dataset(opt | stock | {"val_partition": "REDS4", "test_mode": False})
    ours = VideoClipDataset(opt | {"type": "VideoClipDataset", "exclude_clips": list(REDS4)})
    assert len(theirs) == len(ours) == 18 * 100
    items = {}
    for index in (0, 150, 1799):
        random.seed(index)
        items[index] = theirs[index]
    # An LMDB may be open only once in a process, and BasicSR's class keeps it open.
    for environment in theirs.file_client.client._client.values():
        environment.close()
    for index, item in items.items():
        random.seed(index)
        mine = ours[index]
        assert torch.equal(mine["gt"], item["gt"])
        assert torch.equal(mine["lq"], item["lq"])


def test_stock_test_set(prepared, monkeypatch):
    monkeypatch.setattr("basicsr.data.video_test_dataset.get_root_logger", lambda: logging.getLogger("test"))
    reds4 = prepared / "REDS4"
    opt = {"type": "VideoRecurrentTestDataset", "name": "REDS4", "phase": "test", "scale": 4, "cache_data": True}
    opt |= {"dataroot_gt": str(reds4 / "GT"), "dataroot_lq": str(reds4 / "sharp_bicubic"), "num_frame": -1}
    dataset = build_dataset(opt | {"io_backend": {"type": "disk"}})
    assert dataset.folders == list(REDS4)
    assert dataset[1]["gt"].shape == (100, 3, 16, 24)
    assert (dataset[1]["lq"][:, 2, 0, 0] * 255).round().tolist() == list(range(100))


def test_official_numbers():
    import inspect

    defaults = {name: p.default for name, p in inspect.signature(prepare_reds).parameters.items()}
    assert (defaults["train"], defaults["val"], defaults["frames"]) == (240, 30, 100)
    assert 240 + 30 - len(REDS4) == 266
    assert defaults["size"] == (720, 1280)


@pytest.fixture
def small(official, tmp_path):
    """Three clips of five frames, to be damaged."""
    for part, count in (("train", 2), ("val", 1)):
        for folder in (f"{part}_sharp", f"{part}_sharp_bicubic/X4"):
            for clip in range(count):
                target = tmp_path / "in" / folder / f"{clip:03d}"
                target.mkdir(parents=True)
                for i in range(5):
                    shutil.copy(official / part / folder / f"{clip:03d}/{i:08d}.png", target)
    return tmp_path / "in"


SMALL = {"train": 2, "val": 1, "frames": 5, "size": (16, 24)}


def test_without_official_low_resolution_it_is_made(small, tmp_path, log):
    shutil.rmtree(small / "val_sharp_bicubic")
    prepare_reds(small, tmp_path / "out", workers=1, **SMALL)
    assert any("it is made (bicubic)" in line for line in log)
    recipe = json.loads((tmp_path / "out/REDS/train_sharp_bicubic_with_val.lmdb/.prepare.json").read_text())
    assert recipe["low"] == "bicubic"


def test_scale_2(small, tmp_path):
    prepare_reds(small, tmp_path / "out", scale=4, workers=1, **SMALL)
    before = (tmp_path / "out/REDS/train_sharp_with_val.lmdb/data.mdb").stat().st_mtime_ns
    prepare_reds(small, tmp_path / "out", scale=2, workers=1, **SMALL)
    low = open_frames(tmp_path / "out/REDS/train_sharp_bicubic_X2_with_val.lmdb")
    np.testing.assert_array_equal(low.read("240", [3])[0], downscale(frame(100, 3, 4), 2)[..., ::-1])
    assert image_size(tmp_path / "out/REDS4/sharp_bicubic_X2/000/00000000.png") == (8, 12)
    # The ground truth is the same and stays.
    assert (tmp_path / "out/REDS/train_sharp_with_val.lmdb/data.mdb").stat().st_mtime_ns == before


def test_regrouped_already(small):
    for folder in ("sharp", "sharp_bicubic/X4"):
        (small / f"val_{folder}/000").rename(small / f"train_{folder}/240")
    shutil.rmtree(small / "val_sharp")
    clips = find_reds(small, 4, **SMALL)
    assert [clip.name for clip in clips] == ["000", "001", "240"]
    assert all(clip.low_folder and clip.low_folder.is_dir() for clip in clips)


def test_official_size(small):
    counts = {name: value for name, value in SMALL.items() if name != "size"}
    with pytest.raises(
        UserError,
        match=r"^[^\n]*train_sharp/000/00000000\.png is 24x16, expected 1280x720; is this the low [^\n]*$",
    ):
        find_reds(small, 4, **counts)
    # The sizes of all clips are looked at before anything is written.
    cv2.imwrite(str(small / "val_sharp/000/00000000.png"), frame(0, 0, 8))
    with pytest.raises(UserError, match=r"val_sharp/000/00000000\.png is 48x32, expected 24x16; fetch the official"):
        find_reds(small, 4, **SMALL)


@pytest.mark.parametrize(("part", "target"), [("_bicubic/X4", "bicubic_with_val"), ("", "with_val")])
def test_a_frame_replaced_under_its_name(small, tmp_path, part, target):
    prepare_reds(small, tmp_path / "out", workers=1, **SMALL)
    cv2.imwrite(str(small / f"train_sharp{part}/001/00000002.png"), frame(9, 9, 1 if part else 4))
    with pytest.raises(UserError, match=rf"train_sharp_{target}\.lmdb is there already and was not made from the same"):
        prepare_reds(small, tmp_path / "out", workers=1, **SMALL)


def damage(root, action):
    if action == "no train":
        shutil.rmtree(root / "train_sharp")
    elif action == "no val":
        shutil.rmtree(root / "val_sharp")
    elif action == "no clip":
        shutil.rmtree(root / "train_sharp/001")
    elif action == "no frame":
        (root / "val_sharp/000/00000003.png").unlink()
    elif action == "no low frame":
        (root / "train_sharp_bicubic/X4/001/00000004.png").unlink()
    elif action == "torn":
        (root / "train_sharp/001/00000002.png").write_bytes(b"torn")
    elif action == "torn first":
        (root / "train_sharp/001/00000000.png").write_bytes(b"torn")
    elif action == "odd":
        cv2.imwrite(str(root / "train_sharp/001/00000002.png"), frame(0, 0, 3))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (
            "no train",
            r"in holds neither train_sharp/ nor train/train_sharp/; unpack the official train_sharp\.zip there",
        ),
        ("no val", r"in holds neither val_sharp/ nor val/val_sharp/; unpack the official val_sharp\.zip"),
        ("no clip", r"train_sharp lacks 1 of 2 clips, the first is 001; unpack .*prepare clips"),
        ("no frame", r"val_sharp/000 lacks 1 of 5 frames, the first is 00000003\.png; unpack"),
        ("no low frame", r"X4/001 lacks 1 of 5 frames, the first is 00000004\.png"),
        ("torn", r"train_sharp/001/00000002\.png is no readable image"),
        ("odd", r"train_sharp/001/00000002\.png has 18x12 pixels, its clip 24x16"),
        ("torn first", r"train_sharp/001/00000000\.png is no readable image"),
    ],
)
def test_damaged(small, tmp_path, action, message):
    damage(small, action)
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*$"):
        prepare_reds(small, tmp_path / "out", workers=1, **SMALL)
    assert not (tmp_path / "out/REDS/train_sharp_with_val.lmdb").exists()
