"""The option section of VideoClipDataset."""

from dataclasses import dataclass
from typing import Literal

from vsrm_arch.config import option

__all__ = ["ClipDatasetOptions", "IoBackendOptions"]


@dataclass(frozen=True, kw_only=True)
class IoBackendOptions:
    """BasicSR's section on storage; ours is told by the path, so that it may be left out."""

    type: Literal["disk", "lmdb"] = option("kind of storage; must agree with the path")


@dataclass(frozen=True, kw_only=True)
class ClipDatasetOptions:
    """``datasets: <phase>:`` with ``type: VideoClipDataset``."""

    name: str = option("name of the data set, for logs and result folders")
    type: Literal["VideoClipDataset"] = option("name of the dataset class")
    phase: Literal["train", "val", "test"] = option("set by BasicSR from the section's name")
    scale: int = option("upscaling factor, set by BasicSR from the option file's `scale`")

    dataroot_gt: str | None = option(
        "ground truth: an LMDB or a folder of clip folders; null in a test without it", None
    )
    dataroot_lq: str | None = option("low resolution, likewise; null: bicubic from the ground truth on the fly", None)
    io_backend: IoBackendOptions | None = option("kind of storage, told by the path if left out", None)
    prepare: Literal["sample"] | None = option("make the built-in sample beside `dataroot_gt` if it is not there", None)
    meta_info_file: str | None = option(
        "list of the clips to use, a line each, `000 100 (720,1280,3)`; all if null", None
    )
    clips: list[str] | None = option("names of the clips to use; all if null", None)
    exclude_clips: list[str] = option("names of clips to leave out, e.g. REDS4's while training", [])

    num_frame: int | None = option("train: frames of an item (before `mirror`)", None)
    gt_size: int | None = option("train: side of the ground-truth patch, in pixels, a multiple of the scale", None)
    interval_list: list[int] = option("train: steps between two frames, one drawn for each item", [1])
    random_reverse: bool = option("train: play every other item backwards", False)
    use_hflip: bool = option("train: flip half of the items left to right", True)
    use_rot: bool = option("train: flip upside down and transpose, each for half of the items", True)
    mirror: bool = option("train: append the window's mirror image in time (7 frames become 14)", False)
    pad: Literal["reflect"] | None = option(
        "train: clips shorter than a window turn back at their end; null: error", None
    )

    center_crop: int | None = option("val, test: side of the central ground-truth square to keep, in pixels", None)
    max_frames: int | None = option("val, test: at most so many frames from a clip's beginning", None)

    num_worker_per_gpu: int = option("train: loader processes for each GPU", 0)
    batch_size_per_gpu: int = option("train: items in a batch on each GPU", 1)
    dataset_enlarge_ratio: int = option("train: repeats of the data set in an epoch", 1)
    use_shuffle: bool = option("train: shuffle (BasicSR always does)", True)
    prefetch_mode: Literal["cpu", "cuda"] | None = option("BasicSR's prefetcher", None)
    num_prefetch_queue: int = option("queue length of the `cpu` prefetcher", 1)
    pin_memory: bool = option("page-locked memory for the loader; the `cuda` prefetcher needs it", False)
    persistent_workers: bool = option("keep the loader processes between epochs", False)

    def __post_init__(self) -> None:
        """Checks what one value says of another; the option parser names the file."""
        if self.scale < 1:
            raise ValueError(f"scale {self.scale} is not at least 1")
        if self.prepare is not None and self.dataroot_gt is None:
            raise ValueError("dataroot_gt is missing: `prepare` puts the data beside it")
        if self.dataroot_gt is None and (self.phase == "train" or self.dataroot_lq is None):
            raise ValueError("dataroot_gt is missing: name an LMDB or a folder of clip folders")
        if self.center_crop is not None and (self.center_crop < 1 or self.center_crop % self.scale):
            raise ValueError(f"center_crop {self.center_crop} is no multiple of the scale {self.scale}")
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"max_frames {self.max_frames} is not at least 1")
        if self.phase == "train":
            self._check_training()

    def _check_training(self) -> None:
        for key in ("num_frame", "gt_size"):
            if getattr(self, key) is None:
                raise ValueError(f"{key} is missing: training needs it")
        assert self.num_frame is not None
        assert self.gt_size is not None
        if self.num_frame < 1:
            raise ValueError(f"num_frame {self.num_frame} is not at least 1")
        if self.gt_size < 1 or self.gt_size % self.scale:
            raise ValueError(f"gt_size {self.gt_size} is no multiple of the scale {self.scale}")
        if not self.interval_list or min(self.interval_list) < 1:
            raise ValueError(f"interval_list {self.interval_list} is no list of steps of at least one frame")
