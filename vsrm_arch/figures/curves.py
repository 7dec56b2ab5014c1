"""Training curves: what trainings have logged to TensorBoard, side by side."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vsrm_arch.config.messages import did_you_mean
from vsrm_arch.errors import UserError
from vsrm_arch.files import write_text
from vsrm_arch.plotting import save_plot

__all__ = ["Curve", "choose_tags", "default_tags", "draw", "read_curves", "smoothed", "write_curves"]

_LOSSES = "losses/"
_METRICS = "metrics/"
# Metric → its unit; others have none.
_UNITS = {"psnr": "dB"}
# matplotlib has ten colours; then they come again with another style.
_COLOURS = 10
_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """What a training has logged under one tag.

    Attributes:
        run: What the training is called.
        tag: Such as ``losses/l_pix`` and ``metrics/REDS4/psnr``.
        iterations: Rising.
        values: One for each iteration.
    """

    run: str
    tag: str
    iterations: list[int]
    values: list[float]


def read_curves(run: str, folder: Path) -> list[Curve]:
    """Reads all scalars from the event files of a folder.

    Of a file that is cut short, what stands before the cut counts. A training that was resumed has left several files,
    whose iterations may overlap: the newest event of an iteration counts, and none that was logged beyond the
    iteration from which a later one went on.

    Args:
        run: What to call the training.
        folder: Event files of TensorBoard.

    Returns:
        A curve for each tag, in the order in which they were first logged; none where there are no events.
    """
    from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator

    events = EventAccumulator(str(folder), size_guidance=STORE_EVERYTHING_SIZE_GUIDANCE).Reload()
    curves = []
    for tag in events.Tags()["scalars"]:
        kept = _kept(events.Scalars(tag))
        curves.append(Curve(run, tag, [event.step for event in kept], [event.value for event in kept]))
    return curves


def default_tags(tags: Iterable[str]) -> list[str]:
    """The losses, and each metric's mean over the clips of a set."""
    tags = list(tags)
    losses = [tag for tag in tags if tag.startswith(_LOSSES)]
    metrics = [tag for tag in tags if tag.startswith(_METRICS)]
    # The tag of a clip is that of the mean with the clip's name behind it.
    means = [tag for tag in metrics if not any(tag.startswith(f"{other}/") for other in metrics)]
    return losses + means


def choose_tags(tags: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Tags by their names or by shell patterns (``metrics/*``), in the order of the patterns, each once.

    Raises:
        UserError: If none is meant by a pattern.
    """
    tags = list(tags)
    chosen: list[str] = []
    for pattern in patterns:
        found = [tag for tag in tags if tag == pattern or fnmatchcase(tag, pattern)]
        if not found:
            raise UserError(f"--tag {pattern}: no training has logged it; {did_you_mean(pattern, tags)}")
        chosen += found
    return list(dict.fromkeys(chosen))


def smoothed(values: Iterable[float], weight: float) -> list[float]:
    """The exponential mean of the values so far, without the pull towards 0 at its start.

    Args:
        values: v_1, v_2, …; one that is not finite stands for itself and leaves the mean as it is.
        weight: w of the mean before, in [0, 1); 0: the values themselves.

    Returns:
        ``m_n / (1 - w^n)`` with ``m_n = w·m_{n-1} + (1 - w)·v_n`` and ``m_0 = 0``, as TensorBoard smooths.
    """
    result = []
    mean, rest = 0.0, 1.0
    for value in values:
        if not math.isfinite(value):
            result.append(value)
            continue
        mean = weight * mean + (1 - weight) * value
        rest *= weight
        result.append(mean / (1 - rest))
    return result


def draw(path: Path, curves: Sequence[Curve], tags: Sequence[str], weight: float) -> None:
    """Draws a panel for each tag, in it a line for each training that has logged it.

    Metrics are points, joined by lines. All else is smoothed, over a faint line of the values.

    Args:
        path: The picture.
        curves: Of all trainings; each has the same colour in all panels.
        tags: At least one that a curve has.
        weight: Of :func:`smoothed`.
    """
    from matplotlib.figure import Figure

    runs = list(dict.fromkeys(curve.run for curve in curves))
    columns = math.ceil(math.sqrt(len(tags)))
    rows = math.ceil(len(tags) / columns)
    size = (0.4 + 4.2 * columns, 0.4 + 2.9 * rows + 0.2 * math.ceil(len(runs) / columns))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    lines: dict[str, Any] = {}
    for axes, tag in zip(panels, tags, strict=False):
        for curve in curves:
            if curve.tag == tag:
                number = runs.index(curve.run)
                style = {"color": f"C{number % _COLOURS}", "linestyle": _STYLES[number // _COLOURS % len(_STYLES)]}
                lines[curve.run] = _draw_line(axes, curve, weight, style)
        axes.set_title(tag, fontsize=9)
        axes.set_xlabel("iteration", fontsize=8)
        axes.set_ylabel(_unit(tag), fontsize=8)
        axes.tick_params(labelsize=8)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.locator_params(axis="x", integer=True, nbins=6)
        axes.grid(alpha=0.3)
    for axes in panels[len(tags) :]:
        axes.remove()
    shown = [run for run in runs if run in lines]
    handles = [lines[run] for run in shown]
    figure.legend(handles, shown, loc="outside lower center", ncols=columns, fontsize=8)
    save_plot(figure, path)


def write_curves(path: Path, curves: Iterable[Curve]) -> None:
    """Writes a line for each value, as it was logged (CSV)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "tag", "iteration", "value"])
    for curve in curves:
        for iteration, value in zip(curve.iterations, curve.values, strict=True):
            writer.writerow([curve.run, curve.tag, iteration, value])
    write_text(path, text.getvalue())


def _kept(events: Sequence[Any]) -> list[Any]:
    """Events without those after which one of the same or an earlier iteration was logged."""
    kept: list[Any] = []
    for event in reversed(events):
        if not kept or event.step < kept[-1].step:
            kept.append(event)
    return kept[::-1]


def _draw_line(axes: Any, curve: Curve, weight: float, style: dict[str, str]) -> Any:
    """Draws a curve; returns the line that stands for it in the legend."""
    if curve.tag.startswith(_METRICS) or len(curve.values) == 1:
        return axes.plot(curve.iterations, curve.values, marker="o", markersize=3, linewidth=1, **style)[0]
    if weight:
        # Below the smoothed lines of all trainings.
        axes.plot(curve.iterations, curve.values, alpha=0.25, linewidth=0.8, zorder=1, **style)
    return axes.plot(curve.iterations, smoothed(curve.values, weight), linewidth=1.2, **style)[0]


def _unit(tag: str) -> str:
    names = tag.lower().split("/") if tag.startswith(_METRICS) else []
    return next((unit for metric, unit in _UNITS.items() for name in names if name.startswith(metric)), "")
