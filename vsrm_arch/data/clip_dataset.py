"""Clips of any length and image type, from LMDB or disk, for training and testing."""

import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from vsrm_arch.config import parse
from vsrm_arch.config.messages import did_you_mean
from vsrm_arch.data.bicubic import downscale, downscale_window
from vsrm_arch.data.errors import DataError
from vsrm_arch.data.options import ClipDatasetOptions
from vsrm_arch.data.sampling import mirrored, reach, window
from vsrm_arch.data.sources import FrameSource, is_lmdb, open_frames
from vsrm_arch.wording import counted, some

__all__ = ["VideoClipDataset"]

_Frames = NDArray[np.uint8]


@DATASET_REGISTRY.register()
class VideoClipDataset(Dataset[dict[str, Any]]):
    """Pairs of low- and high-resolution clips.

    In the train phase there is an item for each frame of each clip, as in BasicSR's REDSRecurrentDataset: a window that
    starts there (or, too near to the end, anywhere in the clip), cropped at random and augmented. In the other phases
    an item is a whole clip.

    Args:
        opt: The option section, see :class:`~vsrm_arch.data.options.ClipDatasetOptions`.

    Attributes:
        opt: The section as given.
        folders: The clips' names, in order.
        data_info: ``{"folder": [...]}``, the clip of each frame, as BasicSR's video models count frames.

    Raises:
        UserError: If a key is unknown or ill-typed, or the data are missing, broken or do not fit together.

    An item holds ``lq`` ``(T, 3, h, w)`` and ``gt`` ``(T, 3, H, W)``, float32 RGB in [0, 1] (no ``gt`` where
    ``dataroot_gt`` is null), ``key`` (``clip/first frame``), ``folder`` (the clip) and ``lq_path`` (its first frame).
    """

    Options: ClassVar[type] = ClipDatasetOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.options = options = parse(ClipDatasetOptions, dict(opt), f"dataset {opt.get('name', '')}".rstrip())
        if options.prepare == "sample":
            from vsrm_arch.data.prepare.sample import ensure_sample

            ensure_sample(Path(str(options.dataroot_gt)).parent)
        listed = self._listed_clips()
        self._gt = self._open(options.dataroot_gt, listed)
        self._lq = self._open(options.dataroot_lq, listed)
        source = self._source
        self.folders = self._choose_clips(source, listed)
        self._lengths = {clip: len(source.clips[clip]) for clip in self.folders}
        self._ends = list(accumulate(self._lengths.values()))
        self.data_info = {"folder": [clip for clip in self.folders for _ in range(self._lengths[clip])]}
        self._check_pairs()
        if options.phase == "train":
            self._check_training()

    def __len__(self) -> int:
        return self._ends[-1] if self.options.phase == "train" else len(self.folders)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._training_item(index) if self.options.phase == "train" else self._whole_clip(index)

    # What is checked when the data set is built.

    def _listed_clips(self) -> dict[str, int] | None:
        """The clips named by ``meta_info_file`` and ``clips`` with their frame counts (0: not told)."""
        options = self.options
        listed: dict[str, int] | None = None
        if options.meta_info_file is not None:
            path, listed = Path(options.meta_info_file), {}
            if not path.is_file():
                raise DataError(f"meta_info_file {path} does not exist (looked for in {Path.cwd()})")
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                parts = line.split(" ")
                if len(parts) < 2 or not parts[1].isdecimal():
                    raise DataError(f"{path}, line {number}: expected `clip frames (h,w,c)`, not `{line}`")
                listed[parts[0]] = int(parts[1])
        if options.clips is not None:
            listed = {clip: (listed or {}).get(clip, 0) for clip in options.clips}
        if listed is None:
            return None
        return {clip: listed[clip] for clip in self._without_excluded(listed, "the list of clips")}

    def _without_excluded(self, clips: Iterable[str], where: str) -> list[str]:
        names = list(clips)
        for clip in self.options.exclude_clips:
            # A misspelt name would let a test clip into the training.
            if clip not in names:
                raise DataError(f"exclude_clips: {where} has no clip {clip}; {did_you_mean(clip, names)}")
        return [clip for clip in names if clip not in self.options.exclude_clips]

    def _open(self, root: str | None, listed: dict[str, int] | None) -> FrameSource | None:
        if root is None:
            return None
        backend = self.options.io_backend
        if backend is not None and Path(root).exists() and (backend.type == "lmdb") != is_lmdb(Path(root)):
            kind = "an LMDB" if is_lmdb(Path(root)) else "a folder of clips"
            raise DataError(f"dataset {self.options.name}: io_backend says {backend.type}, but {root} is {kind}")
        return open_frames(Path(root), None if listed is None else list(listed))

    def _choose_clips(self, source: FrameSource, listed: dict[str, int] | None) -> list[str]:
        for clip, count in (listed or {}).items():
            if clip not in source.clips:
                raise DataError(
                    f"{source.root} has no clip {clip}, which the options name; it has {some(source.clips, shown=5)}"
                )
            if count and len(source.clips[clip]) != count:
                raise DataError(
                    f"{source.root / clip} has {counted(len(source.clips[clip]), 'frame')}, the meta info says "
                    f"{count}; make the data again with `basicsr prepare`"
                )
        clips = list(listed) if listed is not None else self._without_excluded(source.clips, str(source.root))
        if not clips:
            raise DataError(f"dataset {self.options.name}: no clip of {source.root} is left; see clips, exclude_clips")
        return clips

    def _check_pairs(self) -> None:
        if self._gt is None or self._lq is None:
            return
        for clip in self.folders:
            if clip not in self._lq.clips:
                raise DataError(f"{self._lq.root} has no clip {clip}, though {self._gt.root} has it; make both again")
            frames, low = len(self._gt.clips[clip]), len(self._lq.clips[clip])
            if frames != low:
                raise DataError(
                    f"clip {clip}: {counted(frames, 'frame')} in {self._gt.root}, but {low} in {self._lq.root}; "
                    "make both again"
                )
            if clip in self._gt.sizes and clip in self._lq.sizes:
                self._check_scale(clip, self._gt.sizes[clip], self._lq.sizes[clip])

    def _check_scale(self, clip: str, high: tuple[int, int], low: tuple[int, int]) -> None:
        scale = self.options.scale
        if high != (low[0] * scale, low[1] * scale):
            assert self._gt is not None
            assert self._lq is not None
            raise DataError(
                f"clip {clip}: {high[1]}x{high[0]} in {self._gt.root} is not {scale} times {low[1]}x{low[0]} in "
                f"{self._lq.root}; check `scale`, or set dataroot_lq to null to have the low resolution made on the fly"
            )

    def _check_training(self) -> None:
        options, source = self.options, self._source
        assert options.num_frame is not None
        needed = reach(options.num_frame, max(options.interval_list))
        for clip, length in self._lengths.items():
            if length < needed and options.pad is None:
                raise DataError(
                    f"clip {clip} of {source.root} has {counted(length, 'frame')}, num_frame and interval_list need "
                    f"{needed}; lower them, name it in exclude_clips, or set `pad: reflect`"
                )
            if clip in source.sizes:
                self._check_patch(clip, source.sizes[clip])

    def _check_patch(self, clip: str, size: tuple[int, int]) -> None:
        gt_size = self.options.gt_size
        if gt_size is not None and min(size) < gt_size:
            raise DataError(
                f"dataset {self.options.name}: gt_size {gt_size} is larger than clip {clip}, {size[1]}x{size[0]}; "
                "lower it or name the clip in exclude_clips"
            )

    # How items are made.

    def _training_item(self, index: int) -> dict[str, Any]:
        options, scale = self.options, self.options.scale
        assert options.num_frame is not None
        assert options.gt_size is not None
        which = bisect_right(self._ends, index)
        clip = self.folders[which]
        length = self._lengths[clip]
        start = index - (self._ends[which] - length)
        # The draws come in the order of BasicSR's REDSRecurrentDataset: the same seed gives the same item.
        interval = random.choice(options.interval_list)
        last = max(length - reach(options.num_frame, interval), 0)
        if start > last:
            start = random.randint(0, last)
        frames = window(start, options.num_frame, interval, length)
        if options.random_reverse and random.random() < 0.5:
            frames.reverse()

        high, low = self._read(clip, frames)
        assert high is not None
        height, width = high[0].shape[:2]
        self._check_patch(clip, (height, width))
        side = options.gt_size // scale
        top, left = random.randint(0, height // scale - side), random.randint(0, width // scale - side)
        if low is None:
            lq = [downscale_window(frame, scale, top, left, side, side) for frame in high]
        else:
            lq = [frame[top : top + side, left : left + side] for frame in low]
        top, left, side = top * scale, left * scale, options.gt_size
        gt = [frame[top : top + side, left : left + side] for frame in high]

        flips = (
            options.use_hflip and random.random() < 0.5,
            options.use_rot and random.random() < 0.5,
            options.use_rot and random.random() < 0.5,
        )
        lq_clip, gt_clip = _augment(np.stack(lq), *flips), _augment(np.stack(gt), *flips)
        if options.mirror:
            order = mirrored(list(range(len(frames))))
            lq_clip, gt_clip = lq_clip[order], gt_clip[order]
        return {"lq": _to_tensor(lq_clip), "gt": _to_tensor(gt_clip), **self._names(clip, frames[0])}

    def _whole_clip(self, index: int) -> dict[str, Any]:
        options, scale = self.options, self.options.scale
        clip = self.folders[index]
        length = self._lengths[clip]
        if options.max_frames is not None:
            length = min(length, options.max_frames)
        high, low = self._read(clip, list(range(length)))
        if low is None:
            assert high is not None
            low = [downscale(frame, scale) for frame in high]
        item = self._names(clip, 0)
        item["lq"] = _to_tensor(np.stack([self._central(frame, 1) for frame in low]))
        if high is not None:
            item["gt"] = _to_tensor(np.stack([self._central(frame, scale) for frame in high]))
        return item

    def _read(self, clip: str, frames: list[int]) -> tuple[list[_Frames] | None, list[_Frames] | None]:
        """Frames of both resolutions, ``None`` for the one that has no files; they fit each other."""
        high = self._gt.read(clip, frames) if self._gt else None
        low = self._lq.read(clip, frames) if self._lq else None
        if high is not None and low is not None:
            self._check_scale(clip, high[0].shape[:2], low[0].shape[:2])
        elif high is not None:
            height, width = (side - side % self.options.scale for side in high[0].shape[:2])
            high = [frame[:height, :width] for frame in high]
        return high, low

    def _central(self, frame: _Frames, scale: int) -> _Frames:
        """The square of ``center_crop`` in the middle of a frame that is ``scale`` times the low resolution."""
        if self.options.center_crop is None:
            return frame
        side = self.options.center_crop // self.options.scale
        height, width = (length // scale for length in frame.shape[:2])
        top, left = max(height - side, 0) // 2, max(width - side, 0) // 2
        return frame[top * scale : (top + side) * scale, left * scale : (left + side) * scale]

    @property
    def _source(self) -> FrameSource:
        """What tells the clips: the ground truth, or the low resolution where there is no other."""
        source = self._gt or self._lq
        assert source is not None
        return source

    def _names(self, clip: str, first: int) -> dict[str, Any]:
        key, source = self._source.key(clip, first), self._lq or self._source
        return {"key": key, "folder": clip, "lq_path": source.where(clip, first)}


def _augment(frames: _Frames, hflip: bool, vflip: bool, transpose: bool) -> _Frames:
    """Flips and transposes ``(T, H, W, 3)`` as BasicSR's ``augment`` does."""
    if hflip:
        frames = frames[:, :, ::-1]
    if vflip:
        frames = frames[:, ::-1]
    return frames.swapaxes(1, 2) if transpose else frames


def _to_tensor(frames: _Frames) -> Tensor:
    """``(T, H, W, 3)``, 0 to 255 → ``(T, 3, H, W)``, float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float().div_(255)
