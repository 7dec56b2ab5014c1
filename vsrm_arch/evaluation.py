"""Results of several tests side by side, as the paper's Table 2: a table for each data set, a row for each clip."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vsrm_arch.errors import UserError
from vsrm_arch.files import write_text
from vsrm_arch.tables import markdown_table

__all__ = ["BICUBIC", "MEAN", "Score", "read_scores", "score_tables", "write_scores"]

# The clip that stands for the mean over all.
MEAN = "mean"
# The network that stands for bicubic enlargement, and what its figures begin with in a results file.
BICUBIC = "bicubic"
_PREFIX = f"{BICUBIC}_"


@dataclass(frozen=True)
class Score:
    """One figure.

    Attributes:
        network: Name of the test, or "bicubic".
        dataset: Name of the data set.
        clip: Name of the clip, or :data:`MEAN`.
        metric: A key of ``val.metrics``.
        value: The mean over the clip's frames, or over the clips.
    """

    network: str
    dataset: str
    clip: str
    metric: str
    value: float


def read_scores(network: str, path: Path) -> list[Score]:
    """Reads the results file of a test.

    Args:
        network: What to call the network.
        path: ``metrics.json``, as :class:`vsrm_arch.models.results.Results` writes it.

    Returns:
        The figures of each clip, then their means, of the network and of bicubic enlargement.

    Raises:
        UserError: If it cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scores = []
        for clip, values in [*content["clips"].items(), (MEAN, content["mean"])]:
            for name, value in values.items():
                if name != "frames":
                    by = BICUBIC if name.startswith(_PREFIX) else network
                    metric = name.removeprefix(_PREFIX)
                    scores.append(Score(by, content["dataset"], clip, metric, float(value)))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; run the test again") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no results file of basicsr test: run the test again") from error
    return scores


def score_tables(scores: Iterable[Score]) -> str:
    """A Markdown table for each data set: a row for each clip and one for the mean, a column for each network.

    A cell holds all metrics of the set, in the order of the option file: "26.91 / 0.8212".
    """
    scores = list(scores)
    tables = []
    for dataset in dict.fromkeys(score.dataset for score in scores):
        of_set = [score for score in scores if score.dataset == dataset]
        networks, metrics = (list(dict.fromkeys(getattr(s, key) for s in of_set)) for key in ("network", "metric"))
        # Bicubic enlargement is what the others are compared with.
        networks.sort(key=lambda network: network != BICUBIC)
        clips = sorted(dict.fromkeys(score.clip for score in of_set), key=lambda clip: clip == MEAN)
        values = {(score.network, score.clip, score.metric): score.value for score in of_set}

        def cell(
            network: str,
            clip: str,
            metrics: Sequence[str] = metrics,
            values: dict[tuple[str, str, str], float] = values,
        ) -> str:
            found = [values.get((network, clip, metric)) for metric in metrics]
            return " / ".join("-" if value is None else f"{value:.4f}" for value in found)

        title = f"{dataset}: {' / '.join(metrics)}"
        rows = [[clip, *(cell(network, clip) for network in networks)] for clip in clips]
        tables.append(markdown_table([[title, *networks], *rows], texts=1))
    return "\n\n".join(tables)


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Writes a line for each figure (CSV)."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=[field.name for field in fields(Score)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, scores))
    write_text(path, text.getvalue())
