"""The built-in sample: short clips rendered from photographs that ship with scikit-image, made on first use.

The photographs are all free of rights, as scikit-image's documentation of each says: in the public domain the portrait
of an astronaut (NASA), the rocket (SpaceX) and the deep field (NASA); dedicated to the public domain (CC0) the cat, the
coffee cup, the cameraman, bricks and gravel. Clips are cut from them by a camera that drifts, sways, turns and
zooms by fractions of a pixel over a scene with depth, so that near parts move faster than far ones; each pixel is the
mean of 3x3 samples. Motion is 0.3 to 2 low-resolution pixels a frame, so that neighbours hold what one frame lacks.
"""

import errno
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vsrm_arch.data.images import read_image
from vsrm_arch.data.prepare.encode import Clip, Frame, default_workers, recipe, write_pair
from vsrm_arch.data.prepare.targets import LmdbTarget, listing, write_meta_info, writing
from vsrm_arch.errors import UserError
from vsrm_arch.files import replace_folder

__all__ = ["TRAIN_SHOTS", "VAL_SHOTS", "Shot", "ensure_sample", "prepare_sample", "render"]

_logger = logging.getLogger("basicsr.vsrm_arch")

_SAMPLES = 3  # per pixel and direction
_KEPT = "nothing is kept of the sample"


@dataclass(frozen=True)
class Shot:
    """A camera path over a photograph. Lengths are in pixels of the ground truth, times in frames.

    Attributes:
        name: The clip's name.
        photo: File name of the photograph in scikit-image's data folder.
        centre: Where the camera looks in the middle of the shot, as fractions of the photograph's width and height.
        zoom: Photograph pixels to a ground-truth pixel, at the beginning and at the end; at least 1.
        drift: Motion (x, y) of the camera per frame.
        sway: Amplitude (x, y) of its oscillation, with a period of nine frames.
        turn: Rotation per frame, in degrees.
        parallax: How much faster the nearest, and slower the farthest, part of the scene moves.
    """

    name: str
    photo: str
    centre: tuple[float, float] = (0.5, 0.5)
    zoom: tuple[float, float] = (1.2, 1.2)
    drift: tuple[float, float] = (0.0, 0.0)
    sway: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    parallax: float = 0.0


TRAIN_SHOTS: tuple[Shot, ...] = (
    Shot("astronaut", "astronaut.png", (0.42, 0.42), (1.3, 1.3), (3.1, 1.3), (1.0, 0.7), 0.05, 0.4),
    Shot("shuttle", "astronaut.png", (0.60, 0.62), (1.25, 1.15), (-2.3, 1.9), (0.8, 0.5), 0.0, 0.3),
    Shot("cat", "chelsea.png", (0.5, 0.5), (1.12, 1.0), (2.2, 0.2), (0.9, 0.6), 0.0, 0.3),
    Shot("rocket", "rocket.jpg", (0.5, 0.52), (1.35, 1.25), (5.3, -0.9), (0.8, 1.0), 0.0, 0.12),
    Shot("cameraman", "camera.png", (0.5, 0.45), (1.4, 1.4), (4.7, 0.7), (0.6, 0.9), -0.08, 0.35),
    Shot("bricks", "brick.png", (0.5, 0.5), (1.5, 1.3), (-3.4, -1.3), (0.5, 0.5), 0.1, 0.2),
    Shot("gravel", "gravel.png", (0.5, 0.5), (1.4, 1.5), (1.3, 3.9), (0.7, 0.4), 0.0, 0.3),
    Shot("stars", "hubble_deep_field.jpg", (0.5, 0.5), (1.8, 1.7), (7.1, 1.9), (0.7, 0.7), 0.12, 0.2),
)
VAL_SHOTS: tuple[Shot, ...] = (
    Shot("coffee", "coffee.png", (0.5, 0.5), (1.3, 1.25), (2.9, -0.8), (0.9, 0.6), 0.04, 0.35),
)


def render(shot: Shot, index: int, num_frames: int = 14, side: int = 256) -> NDArray[np.uint8]:
    """Renders one frame of a shot.

    Args:
        shot: The camera path.
        index: Which frame.
        num_frames: Number of frames in the clip.
        side: Width and height in pixels.

    Returns:
        The frame, ``(side, side, 3)`` BGR.
    """
    photo = _photograph(shot.photo)
    u, v = _points_seen(shot, index, num_frames, side, photo.shape[:2])
    # Pixel centres lie at half-integers there, at integers in OpenCV.
    fine = cv2.remap(photo, u - 0.5, v - 0.5, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.rint(cv2.resize(fine.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)).astype(np.uint8)


def _points_seen(
    shot: Shot, index: int, num_frames: int, side: int, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the samples of a frame lie on a photograph of ``size`` (height, width): x and y, in its pixels."""
    height, width = size
    time = index - (num_frames - 1) / 2
    zoom = np.float32(np.interp(index, (0, max(num_frames - 1, 1)), shot.zoom))
    cos, sin = np.float32(np.cos(np.deg2rad(shot.turn * time))), np.float32(np.sin(np.deg2rad(shot.turn * time)))
    phase = 2 * np.pi * time / 9
    path_x = zoom * np.float32(shot.drift[0] * time + shot.sway[0] * np.sin(phase))
    path_y = zoom * np.float32(shot.drift[1] * time + shot.sway[1] * np.cos(phase))

    # Samples on the image plane, in ground-truth pixels from its centre, and what they would see at rest.
    axis = (np.arange(side * _SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES - side / 2
    x, y = axis[None, :], axis[:, None]
    rest_x = shot.centre[0] * width + zoom * (cos * x - sin * y)
    rest_y = shot.centre[1] * height + zoom * (sin * x + cos * y)
    # Depth belongs to the scene, not to the camera: the point seen is the fixed point of a contraction.
    u, v = rest_x, rest_y
    for _ in range(3):
        # Nearest in the photograph's middle, farthest in the middle of its upper and lower border.
        depth = np.sin(np.float32(np.pi / width) * u) * np.cos(np.float32(2 * np.pi / height) * v)
        speed = 1 - shot.parallax * depth
        u, v = rest_x + path_x * speed, rest_y + path_y * speed
    return u.astype(np.float32, copy=False), v.astype(np.float32, copy=False)


@lru_cache(maxsize=4)
def _photograph(name: str) -> NDArray[np.uint8]:
    import skimage

    path = Path(skimage.__file__).parent / "data" / name
    if not path.is_file():
        raise UserError(
            f"{path} is missing from scikit-image; install it again: pip install --force-reinstall scikit-image"
        )
    return read_image(path)


@dataclass(frozen=True)
class _RenderedClip:
    """A shot as a clip to be written."""

    shot: Shot
    length: int
    side: int

    @property
    def name(self) -> str:
        return self.shot.name

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side

    @property
    def identity(self) -> str:
        return repr(self.shot)

    def frames(self) -> Iterator[Frame]:
        for i in range(self.length):
            yield Frame(f"{self.name}/{i:08d}", self.shot.photo, partial(render, self.shot, i, self.length, self.side))


def prepare_sample(
    root: Path,
    scale: int = 4,
    num_frames: int = 14,
    side: int = 256,
    train: Sequence[Shot] = TRAIN_SHOTS,
    val: Sequence[Shot] = VAL_SHOTS,
    workers: int | None = None,
) -> None:
    """Writes the sample: ``train_GT.lmdb``, ``train_BIx4.lmdb``, ``val_GT.lmdb``, ``val_BIx4.lmdb`` and lists of clips.

    Args:
        root: The folder to put them in.
        scale: Factor of the low resolution.
        num_frames: Frames of each clip.
        side: Width and height of the ground truth, a multiple of ``scale``.
        train: The training clips.
        val: The validation clips, of photographs held out from training.
        workers: Number of threads; all processors by default.
    """
    for part, shots in (("train", train), ("val", val)):
        clips: list[Clip] = [_RenderedClip(shot, num_frames, side) for shot in shots]
        gt = LmdbTarget(root / f"{part}_GT.lmdb", recipe(clips, scale, None))
        lq = LmdbTarget(root / f"{part}_BIx{scale}.lmdb", recipe(clips, scale, "bicubic"))
        write_pair(clips, gt, lq, scale, workers or default_workers(), f"sample {part}", _KEPT)
        write_meta_info(root / f"meta_info_sample_{part}_GT.txt", listing(gt.path))


def ensure_sample(root: Path, force: bool = False, workers: int | None = None) -> None:
    """Makes the sample if it is not there; whoever of several processes comes first makes it, the others wait.

    Args:
        root: Its folder, usually ``datasets/sample``. It appears complete or not at all.
        force: Make it anew, and replace the one that is there when that is done.
        workers: Number of threads; all processors by default.

    Raises:
        UserError: If it cannot be written there.
    """
    if root.is_dir() and not force:
        return
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; move it away or name another folder for the sample")
    with writing(root.parent, lambda: _KEPT):
        root.parent.mkdir(parents=True, exist_ok=True)
        with _locked(root.with_name(f".{root.name}.lock")):
            if not root.is_dir() or force:
                _logger.info("making the sample in %s (once, a few seconds)", root)
                _make(root, force, workers)


def _make(root: Path, force: bool, workers: int | None) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        prepare_sample(temporary, workers=workers)
        # mkdtemp's folder is the owner's alone; a data set is to be read like any other folder.
        temporary.chmod(0o755)
        try:
            if force:
                replace_folder(temporary, root)
            else:
                temporary.rename(root)
        except OSError as error:
            # Without a lock another process may have been first, with the same bytes.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock that the system lets go when its holder dies.

    Where there are no such locks (Windows, some network disks) several makers work side by side, and the first to
    finish wins.
    """
    with path.open("w") as file:
        # Not an ImportError alone: a file system without locks says so when asked for one.
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
