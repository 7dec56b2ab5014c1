"""Tiny clips to test on. A pixel's colour tells where it is from: red = column, green = row, blue = frame."""

import logging

import cv2
import numpy as np
import pytest

from vsrm_arch.data.prepare.encode import ImageClip, recipe, write_pair
from vsrm_arch.data.prepare.targets import LmdbTarget


def _coded_frame(index, height, width, scale=1):
    """A BGR frame of ``height x width`` blocks of ``scale x scale`` equal pixels."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0], frame[..., 1], frame[..., 2] = index, np.arange(height)[:, None], np.arange(width)[None]
    return frame.repeat(scale, 0).repeat(scale, 1)


def _write_clip(folder, num_frames, height, width, scale=1, name="{:08d}.png", image=_coded_frame):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num_frames):
        assert cv2.imwrite(str(folder / name.format(i)), image(i, height, width, scale))


def _noise_frame(index, height, width, scale=1):
    """A BGR frame that does not compress."""
    return np.random.default_rng(index).integers(0, 256, (height * scale, width * scale, 3), dtype=np.uint8)


@pytest.fixture
def coded_frame():
    return _coded_frame


@pytest.fixture
def noise_frame():
    return _noise_frame


@pytest.fixture
def write_clip():
    return _write_clip


@pytest.fixture
def pair(tmp_path):
    """Folders gt and lq with the clips a (12 frames) and b (5 frames), 8x12 low, 32x48 high."""
    for name, scale in (("lq", 1), ("gt", 4)):
        _write_clip(tmp_path / name / "a", 12, 8, 12, scale)
        _write_clip(tmp_path / name / "b", 5, 8, 12, scale)
    return tmp_path


@pytest.fixture
def lmdb_pair(pair):
    """The same as LMDB, gt.lmdb and lq.lmdb."""
    clips = []
    for clip, count in (("a", 12), ("b", 5)):
        files = tuple(f"{i:08d}.png" for i in range(count))
        clips.append(ImageClip(clip, pair / "gt" / clip, files, (32, 48), low_folder=pair / "lq" / clip))
    gt = LmdbTarget(pair / "gt.lmdb", recipe(clips, 4, None))
    lq = LmdbTarget(pair / "lq.lmdb", recipe(clips, 4, "official"))
    write_pair(clips, gt, lq, 4, 2, "test")
    return pair


@pytest.fixture
def log():
    """Lines logged by this package, whatever BasicSR did to its loggers."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("basicsr.vsrm_arch")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)
