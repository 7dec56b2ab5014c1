"""The built-in sample."""

import errno
import logging
import multiprocessing
from pathlib import Path

import cv2
import numpy as np
import pytest

from vsrm_arch.data import VideoClipDataset
from vsrm_arch.data.prepare import sample
from vsrm_arch.data.prepare.sample import TRAIN_SHOTS, VAL_SHOTS, Shot, ensure_sample, prepare_sample, render
from vsrm_arch.data.sources import open_frames
from vsrm_arch.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets") / "sample"
    ensure_sample(root)
    return root


@pytest.fixture
def quick(monkeypatch):
    """A sample of two tiny clips."""
    whole = sample.prepare_sample

    def small(root, workers=None):
        whole(root, num_frames=3, side=32, train=TRAIN_SHOTS[:1], val=VAL_SHOTS[:1], workers=workers)

    monkeypatch.setattr(sample, "prepare_sample", small)


def test_layout(made):
    assert sorted(path.name for path in made.iterdir()) == [
        "meta_info_sample_train_GT.txt",
        "meta_info_sample_val_GT.txt",
        "train_BIx4.lmdb",
        "train_GT.lmdb",
        "val_BIx4.lmdb",
        "val_GT.lmdb",
    ]
    gt, lq = open_frames(made / "train_GT.lmdb"), open_frames(made / "train_BIx4.lmdb")
    assert len(gt.clips) == len(TRAIN_SHOTS) >= 6
    assert set(gt.sizes.values()) == {(256, 256)}
    assert set(lq.sizes.values()) == {(64, 64)}
    assert {len(frames) for frames in gt.clips.values()} == {14}
    assert sum(path.stat().st_size for path in made.rglob("*") if path.is_file()) < 20 * 2**20


def test_held_out():
    assert not {shot.photo for shot in VAL_SHOTS} & {shot.photo for shot in TRAIN_SHOTS}


def test_rendering_is_deterministic():
    for shot in (TRAIN_SHOTS[0], VAL_SHOTS[0]):
        np.testing.assert_array_equal(render(shot, 3, side=64), render(shot, 3, side=64))


def motion(first, second):
    """Mean displacement between two grey pictures, by phase correlation."""
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(first.astype(np.float32), second.astype(np.float32), window)
    return dx, dy


@pytest.mark.parametrize("drift", [(1.5, 0.0), (0.5, 2.5)])
def test_the_camera_moves_as_told(drift):
    # Two steps of half-integers make whole pixels; the picture moves against the camera.
    shot = Shot("x", "gravel.png", zoom=(1.25, 1.25), drift=drift)
    first, second = (render(shot, i, 3, 64) for i in (0, 2))
    dx, dy = (round(2 * step) for step in drift)
    np.testing.assert_array_equal(first[dy:, dx:], second[: 64 - dy, : 64 - dx])


@pytest.mark.parametrize("drift", [(0.3, 0.0), (-0.2, 0.45)])
def test_the_camera_moves_by_fractions_of_a_pixel(drift):
    shot = Shot("x", "astronaut.png", zoom=(1.3, 1.3), drift=drift)
    # Optical flow of one motion for all: least squares over the brightness constraint, on blurred pictures.
    first, second = (cv2.GaussianBlur(render(shot, i, 2, 128)[..., 1].astype(float), (0, 0), 3) for i in (0, 1))
    down, across = np.gradient((first + second) / 2)
    flow, *_ = np.linalg.lstsq(np.stack([across.ravel(), down.ravel()], 1), (first - second).ravel())
    assert flow == pytest.approx((-drift[0], -drift[1]), abs=0.05)


def test_parallax_and_zoom():
    still = Shot("x", "gravel.png", zoom=(1.2, 1.2))
    np.testing.assert_array_equal(render(still, 0, 2, 64), render(still, 1, 2, 64))
    deep = Shot("x", "gravel.png", zoom=(1.2, 1.2), drift=(3.0, 0.0), parallax=0.5)
    first, second = (render(deep, i, 2, 256)[..., 1] for i in (0, 1))
    # The scene is nearest, and moves fastest, at mid-height.
    middle, upper = motion(first[96:160], second[96:160])[0], motion(first[:64], second[:64])[0]
    assert abs(middle) > abs(upper) + 0.3
    near = Shot("x", "gravel.png", zoom=(1.5, 1.2))
    assert not np.array_equal(render(near, 0, 2, 64), render(near, 1, 2, 64))


@pytest.mark.parametrize("shot", TRAIN_SHOTS + VAL_SHOTS, ids=lambda shot: shot.name)
def test_the_camera_stays_on_the_photograph(shot):
    height, width = sample._photograph(shot.photo).shape[:2]
    for i in range(14):
        x, y = sample._points_seen(shot, i, 14, 256, (height, width))
        assert 0 <= x.min() < x.max() <= width
        assert 0 <= y.min() < y.max() <= height


def test_motion_is_realistic(made):
    source = open_frames(made / "train_BIx4.lmdb")
    for clip in source.clips:
        frames = [frame[..., 1] for frame in source.read(clip, [6, 7])]
        if clip != "rocket":  # most of it is sky
            assert 0.2 < np.hypot(*motion(*frames)) < 2.5


def test_frames_differ_in_detail_so_that_fusing_them_pays(made):
    # A neighbour shifted by whole low-resolution pixels does not explain a frame: the shift is a fraction.
    frames = open_frames(made / "val_BIx4.lmdb").read("coffee", [6, 7])
    first, second = (frame[8:-8, 8:-8].astype(int) for frame in frames)
    whole = open_frames(made / "val_BIx4.lmdb").read("coffee", [7])[0].astype(int)
    errors = [
        np.abs(first - whole[8 + dy : 56 + dy, 8 + dx : 56 + dx]).mean() for dy in (-1, 0, 1) for dx in (-1, 0, 1)
    ]
    assert min(errors) > 1
    assert np.abs(first - second).mean() > 1


def test_data_set_makes_it(tmp_path, quick, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opt = {"name": "sample", "type": "VideoClipDataset", "phase": "val", "scale": 4, "prepare": "sample"}
    opt |= {"dataroot_gt": "datasets/sample/val_GT.lmdb", "dataroot_lq": "datasets/sample/val_BIx4.lmdb"}
    item = VideoClipDataset(opt)[0]
    assert item["folder"] == "coffee"
    assert item["gt"].shape == (3, 3, 32, 32)
    assert (tmp_path / "datasets/sample/train_GT.lmdb/data.mdb").is_file()


def test_made_once(tmp_path, quick, log):
    ensure_sample(tmp_path / "sample")
    before = (tmp_path / "sample/train_GT.lmdb/data.mdb").stat().st_mtime_ns
    ensure_sample(tmp_path / "sample")
    assert (tmp_path / "sample/train_GT.lmdb/data.mdb").stat().st_mtime_ns == before
    assert sum("making the sample" in line for line in log) == 1
    ensure_sample(tmp_path / "sample", force=True)
    assert (tmp_path / "sample/train_GT.lmdb/data.mdb").stat().st_mtime_ns > before
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and path.name != "sample"]


class TestForce:
    """The old sample is there, under its name or beside it, whatever happens to the new one."""

    @pytest.fixture
    def old(self, tmp_path, quick):
        ensure_sample(tmp_path / "sample")
        (tmp_path / "sample/old").touch()
        return tmp_path / "sample"

    @staticmethod
    def fail_at_the_second_rename(monkeypatch, error):
        rename = Path.rename

        def failing(path, target):
            if target.name == "sample" and path.name != ".sample.old":
                raise error
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", failing)

    def test_the_second_rename_fails(self, old, monkeypatch):
        self.fail_at_the_second_rename(monkeypatch, PermissionError(errno.EACCES, "Permission denied", str(old)))
        with pytest.raises(UserError, match=r"sample: Permission denied; mend its permissions .* nothing is kept"):
            ensure_sample(old, force=True)
        assert (old / "old").is_file()
        assert sorted(path.name for path in old.parent.iterdir()) == [".sample.lock", "sample"]

    def test_killed_between_the_renames(self, old, monkeypatch):
        # What a kill leaves is what an error leaves that nobody catches.
        with monkeypatch.context() as patch:
            self.fail_at_the_second_rename(patch, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                ensure_sample(old, force=True)
        assert (old.with_name(".sample.old") / "old").is_file()
        ensure_sample(old, force=True)
        assert sorted(path.name for path in old.parent.iterdir()) == [".sample.lock", "sample"]
        assert not (old / "old").exists()


def _make_and_report(root, queue):
    count = []
    whole = sample.prepare_sample
    sample.prepare_sample = lambda path, workers=None: (count.append(1), whole(path, workers=workers))
    logging.disable()
    ensure_sample(root)
    queue.put((len(count), (root / "val_GT.lmdb/data.mdb").is_file()))


def test_several_processes_at_once(tmp_path, quick):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_make_and_report, args=(tmp_path / "sample", queue)) for _ in range(4)]
    for process in processes:
        process.start()
    reports = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(reports) == [(0, True), (0, True), (0, True), (1, True)]


def test_without_locks_the_first_to_finish_wins(tmp_path, quick, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    ensure_sample(tmp_path / "alone")
    assert (tmp_path / "alone/val_GT.lmdb").is_dir()
    small = sample.prepare_sample

    def overtaken(root, workers=None):
        small(tmp_path / "sample")
        small(root)

    monkeypatch.setattr(sample, "prepare_sample", overtaken)
    ensure_sample(tmp_path / "sample")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["alone", "sample"]
    assert len(list((tmp_path / "sample").iterdir())) == 6


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "datasets").write_text("a file in its place")
    with pytest.raises(UserError, match=r"^[^\n]*datasets: (File exists|Not a directory); move "):
        ensure_sample(tmp_path / "datasets/sample")


def test_stopped(tmp_path, quick, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("vsrm_arch.data.prepare.targets.LmdbTarget.put", stopped)
    with pytest.raises(KeyboardInterrupt, match="nothing is kept of the sample"):
        ensure_sample(tmp_path / "sample")
    assert [path.name for path in tmp_path.iterdir()] == [".sample.lock"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")])
def test_all_or_nothing(tmp_path, monkeypatch, error):
    def breaking(root, workers=None):
        (root / "train_GT.lmdb").mkdir()
        raise error

    monkeypatch.setattr(sample, "prepare_sample", breaking)
    with pytest.raises(type(error)):
        ensure_sample(tmp_path / "sample")
    assert [path.name for path in tmp_path.iterdir()] == [".sample.lock"]


def test_same_bytes_again(tmp_path):
    for name in ("a", "b"):
        prepare_sample(tmp_path / name, num_frames=2, side=32, train=TRAIN_SHOTS[:2], val=VAL_SHOTS)
    for path in (tmp_path / "a").rglob("data.mdb"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_photograph_missing_from_scikit_image():
    with pytest.raises(UserError, match=r"^.*nobody\.png is missing from scikit-image; install it again: pip install"):
        render(Shot("x", "nobody.png"), 0, 1, 16)


def test_readable_by_others(tmp_path, quick):
    ensure_sample(tmp_path / "sample")
    assert (tmp_path / "sample").stat().st_mode & 0o055 == 0o055
