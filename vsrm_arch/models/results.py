"""What a validation has given: means, the log, TensorBoard, a results file, the best so far."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsrm_arch.metrics import traits
from vsrm_arch.models.saving import save
from vsrm_arch.models.validation import ClipScores

__all__ = ["Results", "better", "knows", "read_best"]

# Of a larger set, the clips' scores stand in the results file alone.
_CLIPS_LOGGED = 20

Best = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Results:
    """Means over the frames of each clip, and over the clips, as the stock models take them.

    Attributes:
        dataset: The set's name.
        clips: Clip → metric → mean over its frames.
        bicubic: The same for bicubic enlargement; empty where it was not asked for.
        frames: Clip → number of frames.
    """

    dataset: str
    clips: dict[str, dict[str, float]]
    bicubic: dict[str, dict[str, float]]
    frames: dict[str, int]

    @classmethod
    def of(cls, dataset: str, scores: list[ClipScores]) -> "Results":
        """Averages the scores of a set."""
        return cls(
            dataset,
            _clip_means([(s.clip, s.ours) for s in scores]),
            _clip_means([(s.clip, s.bicubic) for s in scores]),
            _frame_counts(scores),
        )

    @property
    def mean(self) -> dict[str, float]:
        """Metric → mean over the clips."""
        return _mean_over_clips(self.clips)

    @property
    def mean_bicubic(self) -> dict[str, float]:
        """The same for bicubic enlargement."""
        return _mean_over_clips(self.bicubic)

    def records(self, metrics: Mapping[str, Mapping[str, Any]], iteration: int) -> Best:
        """The means as records, to be compared with :func:`better`."""
        return {
            metric: {"better": traits.better(metrics[metric]), "val": value, "iter": iteration}
            for metric, value in self.mean.items()
        }

    def text(self, best: Best) -> str:
        """The lines that the log shows, in the stock models' layout."""
        lines = [f"Validation {self.dataset}"]
        for metric, value in self.mean.items():
            line = f"\t # {metric}: {value:.4f}{_beside(self.mean_bicubic, metric)}"
            if len(self.clips) <= _CLIPS_LOGGED:
                for clip, values in self.clips.items():
                    line += f"\t # {clip}: {values[metric]:.4f}{_beside(self.bicubic.get(clip, {}), metric)}"
            lines.append(line)
            if metric in best:
                lines.append(f"\t    Best: {best[metric]['val']:.4f} @ {best[metric]['iter']} iter")
        return "\n".join(lines) + "\n"

    def log_to_tensorboard(self, tb_logger: Any, iteration: int) -> None:
        """Adds the means, and the clips of a small set."""
        for metric, value in self.mean.items():
            tb_logger.add_scalar(f"metrics/{self.dataset}/{metric}", value, iteration)
            if len(self.clips) <= _CLIPS_LOGGED:
                for clip, values in self.clips.items():
                    tb_logger.add_scalar(f"metrics/{self.dataset}/{metric}/{clip}", values[metric], iteration)

    def write(self, path: Path, iteration: int | str, best: Best) -> None:
        """Writes a results file (JSON), atomically; the means of earlier iterations stay in its history.

        Raises:
            UserError: If it cannot be written.
        """
        history = [entry for entry in _read(path).get("history", []) if _is_before(entry["iteration"], iteration)]
        history.append({"iteration": iteration, **self.mean})
        clips = {
            clip: {"frames": self.frames[clip], **values, **_prefixed(self.bicubic.get(clip, {}))}
            for clip, values in self.clips.items()
        }
        content = {
            "dataset": self.dataset,
            "iteration": iteration,
            "mean": {**self.mean, **_prefixed(self.mean_bicubic)},
            "clips": clips,
            "best": best,
            "history": history,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, json.dumps(_finite(content), indent=1).encode())


def read_best(path: Path) -> Best:
    """The best values that a results file knows of."""
    best: Best = _read(path).get("best", {})
    return {metric: record | {"val": float(record["val"])} for metric, record in best.items()}


def knows(path: Path, iteration: int) -> bool:
    """Whether a results file holds the validation of an iteration."""
    return any(entry["iteration"] == iteration for entry in _read(path).get("history", []))


def better(first: Best, second: Best) -> Best:
    """The better record of each metric; the second one where they are equal."""
    chosen = dict(first)
    for metric, record in second.items():
        sign = 1 if record["better"] == "higher" else -1
        if metric not in first or sign * record["val"] >= sign * first[metric]["val"]:
            chosen[metric] = record
    return chosen


def _clip_means(scores: list[tuple[str, dict[str, list[float]]]]) -> dict[str, dict[str, float]]:
    collected: dict[str, dict[str, list[float]]] = {}
    for clip, values in scores:
        for metric, frames in values.items():
            collected.setdefault(clip, {}).setdefault(metric, []).extend(frames)
    return {
        clip: {metric: math.fsum(frames) / len(frames) for metric, frames in values.items()}
        for clip, values in collected.items()
    }


def _frame_counts(scores: list[ClipScores]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for score in scores:
        counts[score.clip] = counts.get(score.clip, 0) + score.frames
    return counts


def _mean_over_clips(clips: dict[str, dict[str, float]]) -> dict[str, float]:
    metrics = next(iter(clips.values()), {})
    return {metric: math.fsum(values[metric] for values in clips.values()) / len(clips) for metric in metrics}


def _beside(bicubic: Mapping[str, float], metric: str) -> str:
    return f" (bicubic {bicubic[metric]:.4f})" if metric in bicubic else ""


def _prefixed(bicubic: Mapping[str, float]) -> dict[str, float]:
    return {f"bicubic_{metric}": value for metric, value in bicubic.items()}


def _is_before(earlier: int | str, iteration: int | str) -> bool:
    return isinstance(earlier, int) and isinstance(iteration, int) and earlier < iteration


def _finite(value: Any) -> Any:
    """JSON has no infinity (the PSNR of equal frames): it is written as the text "inf"."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path) -> dict[str, Any]:
    """A results file; empty where there is none or another program has spoilt it: the next one replaces it."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
