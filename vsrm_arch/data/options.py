"""The option section of VideoClipDataset."""

# The defaults below are dataclasses.field objects, which RUF009 does not see.
# ruff: noqa: RUF009

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["ClipDatasetOptions", "IoBackendOptions"]


def _key(help: str, default: Any = ...) -> Any:
    """A dataclass field with its line for the option reference; without a default the key is required."""
    metadata = {"help": help}
    if default is ...:
        return field(metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class IoBackendOptions:
    """BasicSR's section on storage; ours is told by the path, so that it may be left out."""

    type: Literal["disk", "lmdb"] = _key("kind of storage; must agree with the path")


@dataclass(frozen=True, kw_only=True)
class ClipDatasetOptions:
    """``datasets: <phase>:`` with ``type: VideoClipDataset``."""

    name: str = _key("name of the data set, for logs and result folders")
    type: Literal["VideoClipDataset"] = _key("name of the dataset class")
    phase: Literal["train", "val", "test"] = _key("set by BasicSR from the section's name")
    scale: int = _key("upscaling factor, set by BasicSR from the option file's `scale`")

    dataroot_gt: str | None = _key("ground truth: an LMDB or a folder of clip folders; null in a test without it", None)
    dataroot_lq: str | None = _key("low resolution, likewise; null: bicubic from the ground truth on the fly", None)
    io_backend: IoBackendOptions | None = _key("kind of storage, told by the path if left out", None)
    prepare: Literal["sample"] | None = _key("make the built-in sample beside `dataroot_gt` if it is not there", None)
    meta_info_file: str | None = _key(
        "list of the clips to use, a line each, `000 100 (720,1280,3)`; all if null", None
    )
    clips: list[str] | None = _key("names of the clips to use; all if null", None)
    exclude_clips: list[str] = _key("names of clips to leave out, e.g. REDS4's while training", [])

    num_frame: int | None = _key("train: frames of an item (before `mirror`)", None)
    gt_size: int | None = _key("train: side of the ground-truth patch, in pixels, a multiple of the scale", None)
    interval_list: list[int] = _key("train: steps between two frames, one drawn for each item", [1])
    random_reverse: bool = _key("train: play every other item backwards", False)
    use_hflip: bool = _key("train: flip half of the items left to right", True)
    use_rot: bool = _key("train: flip upside down and transpose, each for half of the items", True)
    mirror: bool = _key("train: append the window's mirror image in time (7 frames become 14)", False)
    pad: Literal["reflect"] | None = _key(
        "train: clips shorter than a window turn back at their end; null: error", None
    )

    center_crop: int | None = _key("val, test: side of the central ground-truth square to keep, in pixels", None)
    max_frames: int | None = _key("val, test: at most so many frames from a clip's beginning", None)

    num_worker_per_gpu: int = _key("train: loader processes for each GPU", 0)
    batch_size_per_gpu: int = _key("train: items in a batch on each GPU", 1)
    dataset_enlarge_ratio: int = _key("train: repeats of the data set in an epoch", 1)
    use_shuffle: bool = _key("train: shuffle (BasicSR always does)", True)
    prefetch_mode: Literal["cpu", "cuda"] | None = _key("BasicSR's prefetcher", None)
    num_prefetch_queue: int = _key("queue length of the `cpu` prefetcher", 1)
    pin_memory: bool = _key("page-locked memory for the loader; the `cuda` prefetcher needs it", False)
    persistent_workers: bool = _key("keep the loader processes between epochs", False)

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
