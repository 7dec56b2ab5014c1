"""VideoClipDataset: what items hold, that it agrees with BasicSR's data sets, and what it says of bad data."""

import logging
import pickle
import random

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from vsrm_arch.data import VideoClipDataset
from vsrm_arch.data.bicubic import downscale
from vsrm_arch.data.errors import DataError
from vsrm_arch.errors import UserError


def options(root, phase="train", kind="", **more):
    base = {"name": "clips", "type": "VideoClipDataset", "phase": phase, "scale": 4}
    base |= {"dataroot_gt": str(root / f"gt{kind}"), "dataroot_lq": str(root / f"lq{kind}")}
    if phase == "train":
        base |= {"num_frame": 3, "gt_size": 16}
    return base | more


def frame_numbers(clip):
    """What :func:`coded_frame` put into the blue channel."""
    return (clip[:, 2, 0, 0] * 255).round().int().tolist()


def fits(item):
    """Whether low and high resolution show the same blocks; :func:`coded_frame` makes every block one colour."""
    return torch.equal(item["lq"].repeat_interleave(4, -1).repeat_interleave(4, -2), item["gt"])


@pytest.mark.parametrize("kind", ["", ".lmdb"])
@pytest.mark.parametrize("augment", [False, True])
def test_training_item(lmdb_pair, kind, augment):
    flags = dict.fromkeys(("use_hflip", "use_rot", "random_reverse"), augment)
    dataset = VideoClipDataset(options(lmdb_pair, kind=kind, **flags))
    assert len(dataset) == 12 + 5
    item = dataset[2]
    assert item["lq"].shape == (3, 3, 4, 4)
    assert item["gt"].shape == (3, 3, 16, 16)
    assert item["lq"].dtype == item["gt"].dtype == torch.float32
    assert item["folder"] == "a"
    assert item["lq_path"].startswith(str(lmdb_pair / f"lq{kind}" / "a"))
    assert fits(item)
    if not augment:
        assert item["key"] == "a/00000002"
        assert frame_numbers(item["lq"]) == [2, 3, 4]


def test_rgb_in_unit_range(pair):
    gt = cv2.imread(str(pair / "gt/a/00000000.png"))[..., ::-1]
    item = VideoClipDataset(options(pair, "test"))[0]
    expected = torch.from_numpy(gt.astype(np.float32) / 255).permute(2, 0, 1)
    assert torch.equal(item["gt"][0], expected)


@pytest.mark.parametrize("phase", ["val", "test"])
@pytest.mark.parametrize("kind", ["", ".lmdb"])
def test_whole_clips(lmdb_pair, phase, kind):
    dataset = VideoClipDataset(options(lmdb_pair, phase, kind))
    assert dataset.folders == ["a", "b"]
    assert dataset.data_info["folder"] == ["a"] * 12 + ["b"] * 5
    assert len(dataset) == 2
    item = dataset[1]
    assert item["folder"] == "b"
    assert item["lq"].shape == (5, 3, 8, 12)
    assert item["gt"].shape == (5, 3, 32, 48)
    assert frame_numbers(item["gt"]) == list(range(5))
    assert fits(item)


def test_centre_crop_and_max_frames(pair):
    item = VideoClipDataset(options(pair, "val", center_crop=16, max_frames=2))[0]
    assert item["gt"].shape == (2, 3, 16, 16)
    # Of 12 columns and 8 rows the middle 4: columns 4-7, rows 2-5.
    assert (item["lq"][0, 0, 0] * 255).round().tolist() == [4, 5, 6, 7]
    assert (item["lq"][0, 1, :, 0] * 255).round().tolist() == [2, 3, 4, 5]
    assert fits(item)


def test_centre_crop_of_a_smaller_clip_keeps_it_whole(pair):
    assert VideoClipDataset(options(pair, "val", center_crop=400))[0]["gt"].shape == (12, 3, 32, 48)


def test_low_resolution_alone(pair):
    item = VideoClipDataset(options(pair, "test", dataroot_gt=None))[1]
    assert "gt" not in item
    assert item["lq"].shape == (5, 3, 8, 12)


@pytest.mark.parametrize("phase", ["train", "val"])
def test_low_resolution_on_the_fly(tmp_path, write_clip, noise_frame, phase):
    # Sides that the scale does not divide are cropped.
    write_clip(tmp_path / "gt/c", 4, 35, 50, image=noise_frame)
    dataset = VideoClipDataset(options(tmp_path, phase, dataroot_lq=None, use_hflip=False, use_rot=False))
    whole = [downscale(noise_frame(i, 35, 50)[:32, :48], 4)[..., ::-1] for i in range(4)]
    if phase == "val":
        assert np.array_equal((dataset[0]["lq"] * 255).round().byte().permute(0, 2, 3, 1), np.stack(whole))
        return
    for seed in range(5):
        random.seed(seed)
        item = dataset[0]
        random.seed(seed)
        random.choice([1])
        top, left = random.randint(0, 4), random.randint(0, 8)
        expected = np.stack(whole[:3])[:, top : top + 4, left : left + 4]
        assert np.array_equal((item["lq"] * 255).round().byte().permute(0, 2, 3, 1), expected)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    num_frame=st.integers(1, 5),
    intervals=st.lists(st.integers(1, 2), min_size=1, max_size=2),
    reverse=st.booleans(),
    mirror=st.booleans(),
    index=st.integers(0, 11),
    seed=st.integers(0, 10**6),
)
def test_stride_reversal_and_mirror(pair, num_frame, intervals, reverse, mirror, index, seed):
    keys = {"num_frame": num_frame, "interval_list": intervals, "random_reverse": reverse, "mirror": mirror}
    dataset = VideoClipDataset(options(pair, clips=["a"], **keys))
    random.seed(seed)
    item = dataset[index]
    assert fits(item)
    frames = frame_numbers(item["gt"])
    if mirror:
        assert frames == frames[::-1]
        frames = frames[:num_frame]
    assert len(frames) == num_frame
    steps = set(np.diff(frames).tolist())
    assert len(steps) <= 1
    assert all(abs(step) in intervals and (step > 0 or reverse) for step in steps)
    # The window starts at the item's own frame wherever it fits there.
    if not reverse and index + (num_frame - 1) * max(intervals) < 12:
        assert frames[0] == index


def test_every_draw_occurs(pair):
    dataset = VideoClipDataset(options(pair, clips=["a"], num_frame=2, interval_list=[1, 3], random_reverse=True))
    seen, corners = set(), set()
    for _ in range(300):
        item = dataset[5]
        seen.add(tuple(frame_numbers(item["gt"])))
        columns, rows = item["lq"][0, 0] * 255, item["lq"][0, 1] * 255
        corners.add((bool(columns[0, 0] > columns.max() - 1), bool(rows[0, 0] > rows.max() - 1)))
    assert seen == {(5, 6), (6, 5), (5, 8), (8, 5)}
    assert len(corners) == 4


def test_flips_and_transpose_cover_the_eight_poses(pair):
    dataset = VideoClipDataset(options(pair, clips=["a"], num_frame=1))
    poses = set()
    for _ in range(200):
        first = dataset[0]["lq"][0, :2] * 255
        across, down = first[:, 0, 1] - first[:, 0, 0], first[:, 1, 0] - first[:, 0, 0]
        poses.add((*across.round().int().tolist(), *down.round().int().tolist()))
    assert len(poses) == 8


@pytest.mark.parametrize("length", [1, 2, 5])
def test_short_clips_are_reflected_on_request(tmp_path, write_clip, length):
    for name, scale in (("lq", 1), ("gt", 4)):
        write_clip(tmp_path / name / "c", length, 8, 12, scale)
    item = VideoClipDataset(options(tmp_path, num_frame=7, pad="reflect"))[0]
    bounce = {1: [0] * 7, 2: [0, 1, 0, 1, 0, 1, 0], 5: [0, 1, 2, 3, 4, 3, 2]}
    assert frame_numbers(item["gt"]) == bounce[length]


def test_names_may_differ_between_resolutions(tmp_path, write_clip):
    write_clip(tmp_path / "lq/c", 12, 8, 12, name="{:08d}.png")
    write_clip(tmp_path / "gt/c", 12, 8, 12, 4, name="Frame {}.bmp")
    item = VideoClipDataset(options(tmp_path, "test"))[0]
    assert frame_numbers(item["lq"]) == frame_numbers(item["gt"]) == list(range(12))


def test_choice_of_clips(pair):
    (pair / "list.txt").write_text("b 5 (32,48,3)\na 12 (32,48,3)\n")
    assert VideoClipDataset(options(pair, meta_info_file=str(pair / "list.txt"))).folders == ["b", "a"]
    assert VideoClipDataset(options(pair, clips=["b"])).folders == ["b"]
    assert VideoClipDataset(options(pair, exclude_clips=["b"])).folders == ["a"]
    dataset = VideoClipDataset(options(pair, meta_info_file=str(pair / "list.txt"), exclude_clips=["a"]))
    assert dataset.folders == ["b"]
    assert len(dataset) == 5


def test_index_out_of_range(pair):
    dataset = VideoClipDataset(options(pair))
    for index in (17, -1):
        with pytest.raises(IndexError):
            dataset[index]


# With BasicSR.


def seeded_item(dataset, index, seed):
    random.seed(seed)
    return dataset[index]


def test_agrees_with_reds_recurrent_dataset(tmp_path, write_clip, noise_frame, monkeypatch):
    monkeypatch.setattr("basicsr.data.reds_dataset.get_root_logger", lambda: logging.getLogger("test"))
    for name, side in (("lq", 10), ("gt", 40)):
        write_clip(tmp_path / name / "030", 100, side, side, image=noise_frame)
    (tmp_path / "list.txt").write_text("030 100 (40,40,3)\n")
    keys = {"num_frame": 4, "gt_size": 16, "interval_list": [1, 2], "random_reverse": True}
    ours = VideoClipDataset(options(tmp_path, **keys))
    stock = {"type": "REDSRecurrentDataset", "meta_info_file": str(tmp_path / "list.txt"), "val_partition": "REDS4"}
    stock |= {"test_mode": False, "io_backend": {"type": "disk"}, "use_hflip": True, "use_rot": True}
    theirs = build_dataset(options(tmp_path, **keys) | stock)
    assert len(ours) == len(theirs) == 100
    for seed in range(12):
        mine, other = (seeded_item(dataset, 7 * seed, seed) for dataset in (ours, theirs))
        assert torch.equal(mine["lq"], other["lq"])
        assert torch.equal(mine["gt"], other["gt"])


@pytest.mark.parametrize("workers", [0, 2])
def test_basicsr_loader_and_sampler(lmdb_pair, workers):
    more = {"num_worker_per_gpu": workers, "batch_size_per_gpu": 4, "dataset_enlarge_ratio": 3, "use_shuffle": True}
    opt = options(lmdb_pair, kind=".lmdb", io_backend={"type": "lmdb"}, **more)
    dataset = build_dataset(opt)
    sampler = EnlargedSampler(dataset, 1, 0, opt["dataset_enlarge_ratio"])
    loader = build_dataloader(dataset, opt, num_gpu=1, dist=False, sampler=sampler, seed=0)
    batches = list(loader)
    assert len(batches) == 17 * 3 // 4
    assert batches[0]["lq"].shape == (4, 3, 3, 4, 4)
    assert len(batches[0]["key"]) == 4
    # Read here, too, and then once more by workers that are forked from this process.
    assert fits(dataset[0])
    assert len(list(loader)) == len(batches)


def test_spawned_workers(lmdb_pair):
    dataset = VideoClipDataset(options(lmdb_pair, kind=".lmdb"))
    dataset[0]
    loader = DataLoader(dataset, batch_size=17, num_workers=1, multiprocessing_context="spawn")
    assert sorted(next(iter(loader))["folder"]) == ["a"] * 12 + ["b"] * 5


def test_two_data_sets_on_one_lmdb(lmdb_pair):
    train, val = (VideoClipDataset(options(lmdb_pair, phase, ".lmdb")) for phase in ("train", "val"))
    assert fits(train[0])
    assert fits(val[0])
    # Both resolutions from one LMDB, at scale 1.
    same = {"dataroot_lq": str(lmdb_pair / "gt.lmdb"), "scale": 1}
    item = VideoClipDataset(options(lmdb_pair, "val", ".lmdb", **same))[0]
    assert torch.equal(item["lq"], item["gt"])


def test_pickles(lmdb_pair):
    dataset = VideoClipDataset(options(lmdb_pair, kind=".lmdb"))
    dataset[0]
    assert fits(pickle.loads(pickle.dumps(dataset))[0])


def test_prepare_makes_the_sample_beside(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("vsrm_arch.data.prepare.sample.ensure_sample", asked.append)
    with pytest.raises(DataError, match=r"train_GT\.lmdb does not exist"):
        VideoClipDataset(options(tmp_path, prepare="sample", dataroot_gt=str(tmp_path / "sample/train_GT.lmdb")))
    assert asked == [tmp_path / "sample"]


# What is said of bad options and bad data: one line each.


def fails(match):
    return pytest.raises(UserError, match=f"^[^\n]*{match}[^\n]*$")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_frames": 3}, "dataset clips.*num_frames.*num_frame"),
        ({"gt_size": "large"}, "gt_size.*integer"),
        ({"gt_size": 18}, "gt_size 18 is no multiple of the scale 4"),
        ({"gt_size": None}, "gt_size is missing"),
        ({"num_frame": None}, "num_frame is missing"),
        ({"num_frame": 0}, "num_frame 0 is not at least 1"),
        ({"interval_list": []}, r"interval_list \[\] is no list of steps"),
        ({"interval_list": [1, 0]}, r"interval_list \[1, 0\] is no list of steps"),
        ({"pad": "zero"}, "pad.*reflect"),
        ({"phase": "val", "center_crop": 30}, "center_crop 30 is no multiple of the scale 4"),
        ({"phase": "val", "max_frames": 0}, "max_frames 0 is not at least 1"),
        ({"dataroot_gt": None}, "dataroot_gt is missing"),
        ({"phase": "test", "dataroot_gt": None, "dataroot_lq": None}, "dataroot_gt is missing"),
        ({"prepare": "sample", "phase": "test", "dataroot_gt": None}, "dataroot_gt is missing"),
        ({"scale": 0}, "scale 0 is not at least 1"),
        ({"gt_size": 64}, "gt_size 64 is larger than clip a, 48x32"),
        ({"num_frame": 6}, "clip b of .* has 5 frames, num_frame and interval_list need 6; .*`pad: reflect`"),
        ({"interval_list": [1, 3]}, "clip b of .* has 5 frames, num_frame and interval_list need 7"),
        ({"clips": ["a", "z"]}, "has no clip z, which the options name; it has a, b"),
        ({"exclude_clips": ["clip_a"]}, "exclude_clips: .*gt.lmdb has no clip clip_a; known: a, b"),
        ({"clips": ["a"], "exclude_clips": ["b"]}, "exclude_clips: the list of clips has no clip b; known: a"),
        ({"exclude_clips": ["a", "b"]}, "no clip of .* is left; see clips, exclude_clips"),
        ({"meta_info_file": "nowhere.txt"}, "meta_info_file nowhere.txt does not exist"),
        ({"io_backend": {"type": "disk"}}, "io_backend says disk, but .*gt.lmdb is an LMDB"),
        ({"io_backend": {"type": "lmdbs"}}, "io_backend.*lmdb"),
    ],
)
def test_bad_options(lmdb_pair, keys, message):
    with fails(message):
        VideoClipDataset(options(lmdb_pair, keys.pop("phase", "train"), ".lmdb") | keys)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a twelve", "list.txt, line 1: expected `clip frames .*, not `a twelve`"),
        ("a", "list.txt, line 1: expected"),
        ("a 100 (32,48,3)", "gt/a has 12 frames, the meta info says 100"),
        ("z 100 (32,48,3)", "has no clip z"),
    ],
)
def test_bad_meta_info_file(pair, line, message):
    (pair / "list.txt").write_text(f"{line}\n")
    with fails(message):
        VideoClipDataset(options(pair, meta_info_file=str(pair / "list.txt")))


@pytest.mark.parametrize("phase", ["train", "test"])
def test_missing_folder(pair, phase):
    with fails("lq_none does not exist"):
        VideoClipDataset(options(pair, phase, dataroot_lq=str(pair / "lq_none")))


def test_missing_low_resolution_clip(pair):
    (pair / "lq/b").rename(pair / "elsewhere")
    with fails("lq has no clip b, though .*gt has it"):
        VideoClipDataset(options(pair))


def test_missing_low_resolution_frame(pair):
    (pair / "lq/b/00000004.png").unlink()
    with fails("clip b: 5 frames in .*gt, but 4 in .*lq"):
        VideoClipDataset(options(pair))


@pytest.mark.parametrize("kind", ["", ".lmdb"])
def test_sizes_that_do_not_fit(lmdb_pair, kind):
    with fails("clip a: 48x32 in .*gt.* is not 2 times 12x8 in .*lq.*; check `scale`"):
        VideoClipDataset(options(lmdb_pair, kind=kind, scale=2))[0]


def test_patch_larger_than_frames_on_disk(pair):
    with fails("gt_size 64 is larger than clip a, 48x32"):
        VideoClipDataset(options(pair, gt_size=64))[0]


def test_a_clip_in_place_of_a_folder_of_clips(pair):
    with fails("gt/a holds frames itself .*, but must hold a folder of frames for each clip"):
        VideoClipDataset(options(pair, dataroot_gt=str(pair / "gt/a"), gt_size=64))


def test_unreadable_image(pair):
    (pair / "lq/a/00000001.png").write_bytes(b"torn")
    with fails("lq/a/00000001.png is no readable image"):
        VideoClipDataset(options(pair, clips=["a"], num_frame=12))[0]


def test_one_line_from_a_worker(pair):
    (pair / "lq/a/00000001.png").write_bytes(b"torn")
    dataset = VideoClipDataset(options(pair, clips=["a"], num_frame=12))
    with fails("^.*lq/a/00000001.png is no readable image .*again$"):
        list(DataLoader(dataset, num_workers=1))


@pytest.mark.data
def test_real_clips_from_disk(vsrm_data):
    base = {"name": "real", "type": "VideoClipDataset", "scale": 4}
    train = VideoClipDataset(
        base | {"phase": "train", "dataroot_gt": str(vsrm_data / "train"), "num_frame": 6, "gt_size": 128}
    )
    assert len(train.folders) == 54
    item = train[100]
    assert item["lq"].shape == (6, 3, 32, 32)
    assert 0.02 < item["gt"].std() < 0.5
    data = {"dataroot_gt": str(vsrm_data / "Vid4/GT"), "dataroot_lq": str(vsrm_data / "Vid4/BIx4")}
    test = VideoClipDataset(base | {"phase": "test", "max_frames": 3} | data)
    assert test.folders == ["city", "walk"]
    assert test[0]["gt"].shape == (3, 3, 576, 704)
