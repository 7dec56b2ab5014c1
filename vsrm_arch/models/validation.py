"""Running a network over a validation set: which frames, which metrics, which pictures."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import imwrite, tensor2img
from basicsr.utils.dist_util import get_dist_info
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.utils.data import Dataset
from tqdm import tqdm

from vsrm_arch.errors import UserError
from vsrm_arch.metrics.traits import prepare, takes_clips
from vsrm_arch.models.comparison import comparison
from vsrm_arch.models.options import ValOptions

__all__ = ["ClipScores", "Validation"]

# A log without a progress bar shows that a long validation goes on.
_SECONDS_BETWEEN_LINES = 60

_logger = logging.getLogger("basicsr.vsrm_arch")


@dataclass
class ClipScores:
    """What one item of the set has scored.

    Attributes:
        index: The item's place in the set.
        clip: The folder that it belongs to; a set may hold several items of one folder.
        frames: How many of its frames count.
        ours: Metric → a value for each frame, or for each pair of neighbouring frames.
        bicubic: The same for bicubic enlargement, where asked for.
    """

    index: int
    clip: str
    frames: int
    ours: dict[str, list[float]] = field(default_factory=dict)
    bicubic: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Validation:
    """A way of validating, the same for every set and at every iteration.

    What the metrics need is loaded when it is built.

    Attributes:
        options: ``val``.
        scale: Enlargement.
        enlarge: The network: ``(1, T, 3, h, w)`` → ``(1, T, 3, scale·h, scale·w)``, both on the CPU.
        enlarge_bicubic: Bicubic enlargement likewise.
        folder: Where pictures go: ``<folder>/<set>/<clip>/``.
        group: The processes that share the work; None for the default group.

    Raises:
        UserError: If something that a metric needs is missing.
    """

    options: ValOptions
    scale: int
    enlarge: Callable[[Tensor], Tensor]
    enlarge_bicubic: Callable[[Tensor], Tensor]
    folder: Path
    group: ProcessGroup | None = None
    # Set → item → scores.
    _bicubic: WeakKeyDictionary[Any, dict[int, dict[str, list[float]]]] = field(default_factory=WeakKeyDictionary)

    def __post_init__(self) -> None:
        for metric in (self.options.metrics or {}).values():
            prepare(metric)

    def run(self, dataset: Dataset[Any], suffix: str, save_img: bool) -> list[ClipScores]:
        """Validates one set; in a distributed run each rank takes every n-th item, and rank 0 gets all scores.

        The ranks meet once, at the end, whatever the number of items.

        Args:
            dataset: Items with ``lq`` (T, 3, h, w), and optionally ``gt`` (T, 3, H, W) or, where only the centre frame
                counts, (3, H, W), ``folder`` and ``lq_path``. Its ``opt["name"]`` names the set.
            suffix: Ending of the pictures' names.
            save_img: Whether to save the enlarged frames.

        Returns:
            The scores, in the order of the set; on the other ranks their own ones.

        Raises:
            UserError: If an item does not fit, or a picture cannot be written.
        """
        rank, world_size = get_dist_info()
        length: int = len(dataset)  # type: ignore[arg-type]
        scores = []
        name = dataset.opt["name"]  # type: ignore[attr-defined]
        _logger.info("Validation %s: %d %s", name, length, "clip" if length == 1 else "clips")
        logged = time.monotonic()
        hidden = not self.options.pbar or rank != 0
        # disable=None hides the bar where the output is no terminal.
        for index in tqdm(range(rank, length, world_size), unit="clip", leave=False, disable=hidden or None):
            scores.append(self._validate_clip(dataset, index, suffix, save_img))
            if time.monotonic() - logged > _SECONDS_BETWEEN_LINES:
                _logger.info("Validation %s: %d of %d clips are done", name, min(index + world_size, length), length)
                logged = time.monotonic()
        if world_size > 1:
            gathered: list[Any] | None = [None] * world_size if rank == 0 else None
            torch.distributed.gather_object(scores, gathered, group=self.group)
            if gathered is not None:
                scores = sorted((s for part in gathered for s in part), key=lambda s: s.index)
        return scores

    def _validate_clip(self, dataset: Any, index: int, suffix: str, save_img: bool) -> ClipScores:
        name, item = dataset.opt["name"], dataset[index]
        clip = str(item.get("folder", index))
        lq, gt = item["lq"], item.get("gt")
        if lq.ndim != 4:
            raise UserError(
                f"datasets: {name} gives inputs of shape {tuple(lq.shape)}; RecurrentVSRModel validates clips, "
                "(T, 3, h, w)"
            )
        center = self.options.center_frame_only or (gt is not None and gt.ndim == 3)
        if gt is not None and (center or len(lq) == 1):
            self._refuse_clip_metrics(name, clip)
        output = self._frames(self.enlarge(lq.unsqueeze(0))[0], center)
        broken = [i for i, frame in enumerate(output) if not frame.isfinite().all()]
        if broken:
            raise UserError(
                f"datasets: {name}, clip {clip}: the network's output is not finite, first in frame {broken[0]}; set "
                "val.amp: bf16 or off if it is fp16, or give other weights"
            )
        truth = None if gt is None else self._frames(gt if gt.ndim == 4 else gt.unsqueeze(0), center)
        if truth is not None and truth.shape != output.shape:
            raise UserError(
                f"datasets: {name}, clip {clip}: the ground truth has {_size(truth)}, the input enlarged "
                f"x{self.scale} has {_size(output)}; give frames of matching number and size"
            )
        images = [tensor2img(frame) for frame in output]  # uint8, BGR
        truths = None if truth is None else [tensor2img(frame) for frame in truth]
        if save_img:
            for i, image in enumerate(images):
                _save(image, self._folder(name, clip) / f"{self._image_name(name, item, i, center)}_{suffix}.png")
        scores = ClipScores(index, clip, len(images))
        if truths is not None:
            scores.ours = self._score(images, truths)
            if self.options.compare_bicubic:
                scores.bicubic = self._score_bicubic(dataset, index, lq, truths, center)
        if self.options.save_comparison:
            self._save_comparison(self._folder(name, clip) / f"comparison_{suffix}.png", lq, images, truths, center)
        return scores

    def _refuse_clip_metrics(self, name: str, clip: str) -> None:
        for key, metric in (self.options.metrics or {}).items():
            if takes_clips(metric):
                raise UserError(
                    f"datasets: {name}, clip {clip}: one frame of it is compared with the ground truth, and "
                    f"val.metrics.{key} compares neighbouring ones; leave that metric out, or the clip"
                )

    def _frames(self, clip: Tensor, center: bool) -> Tensor:
        return clip[len(clip) // 2].unsqueeze(0) if center else clip

    def _folder(self, name: str, clip: str) -> Path:
        return self.folder / name / clip

    def _image_name(self, name: str, item: Mapping[str, Any], frame: int, center: bool) -> str:
        """The stem that the stock models give a frame."""
        path = item.get("lq_path")
        if not center or not isinstance(path, str):
            return f"{frame:08d}"
        parts = Path(path).parts
        if self.options.center_frame_only:  # VideoRecurrentModel: <clip>_<sequence> of Vimeo-90K
            return "_".join(parts[-3:-1])
        stem = Path(path).stem
        return "_".join([*parts[-3:-1], stem]) if "vimeo" in name.lower() else stem

    def _score(self, images: list[np.ndarray], truths: list[np.ndarray]) -> dict[str, list[float]]:
        scores: dict[str, list[float]] = {}
        for name, metric in (self.options.metrics or {}).items():
            arguments = {key: value for key, value in metric.items() if key != "better"}
            if takes_clips(metric):
                scores[name] = calculate_metric({"img": images, "img2": truths}, arguments)
                continue
            pairs = zip(images, truths, strict=True)
            scores[name] = [float(calculate_metric({"img": ours, "img2": truth}, arguments)) for ours, truth in pairs]
        return scores

    def _score_bicubic(
        self, dataset: Any, index: int, lq: Tensor, truths: list[np.ndarray], center: bool
    ) -> dict[str, list[float]]:
        """Computed once: it does not change while the network trains."""
        known = self._bicubic.setdefault(dataset, {})
        if index not in known:
            frames = self._frames(lq, center)
            images = [tensor2img(self.enlarge_bicubic(frame[None, None])[0, 0]) for frame in frames]
            known[index] = self._score(images, truths)
        return known[index]

    def _save_comparison(
        self, path: Path, lq: Tensor, images: list[np.ndarray], truths: list[np.ndarray] | None, center: bool
    ) -> None:
        frames = self._frames(lq, center)
        chosen = self.options.comparison_frame
        frame = len(frames) // 2 if chosen is None else min(chosen, len(frames) - 1)
        bicubic = tensor2img(self.enlarge_bicubic(frames[frame][None, None])[0, 0])
        _save(comparison(bicubic, images[frame], None if truths is None else truths[frame]), path)


def _size(frames: Tensor) -> str:
    count, _, height, width = frames.shape
    return f"{count} frames of {height}x{width}"


def _save(image: np.ndarray, path: Path) -> None:
    try:
        imwrite(image, str(path))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}; make room, or set val.save_img: false") from error
