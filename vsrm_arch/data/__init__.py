"""Data sets: clips for training and testing, and the preparation of the well-known ones."""

from vsrm_arch.data.clip_dataset import VideoClipDataset
from vsrm_arch.data.options import ClipDatasetOptions

__all__ = ["ClipDatasetOptions", "VideoClipDataset"]
