"""Times as bars, with their quartiles. Needs the extra ``plot``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vsrm_arch.bench.films import FilmRow
from vsrm_arch.bench.networks import NetworkRow
from vsrm_arch.bench.ops import OpRow
from vsrm_arch.plotting import save_plot

__all__ = ["Bar", "film_bars", "network_bars", "op_bars", "plot"]

# Where times differ by this factor, the short ones vanish on a linear scale.
_MUCH = 20


@dataclass(frozen=True)
class Bar:
    """A median with its quartiles, ms.

    Attributes:
        group: Bars of a group stand together.
        series: Bars of a series have one colour.
        height: The median.
        lower: The lower quartile.
        upper: The upper quartile.
    """

    group: str
    series: str
    height: float
    lower: float
    upper: float


def network_bars(rows: Sequence[NetworkRow]) -> list[Bar]:
    """A group for each size, a series for each network and dtype; rows that failed have no bar."""
    return [_bar(row, row.size, f"{row.network}, {row.dtype}") for row in rows if row.ms is not None]


def op_bars(rows: Sequence[OpRow]) -> list[Bar]:
    """A group for each op, shape and pass, a series for each implementation and dtype."""
    return [
        _bar(row, f"{row.op}\n{row.shape}\n{row.mode}", f"{row.backend}, {row.dtype}")
        for row in rows
        if row.ms is not None
    ]


def film_bars(rows: Sequence[FilmRow]) -> list[Bar]:
    """A group for each film and dtype, a series for each stage."""
    return [_bar(row, f"{row.film}\n{row.size}, {row.dtype}", row.stage) for row in rows if row.ms is not None]


def plot(path: Path, bars: Sequence[Bar], label: str, title: str) -> None:
    """Draws bars, on a logarithmic scale where they differ much.

    Args:
        path: The picture, see :func:`vsrm_arch.plotting.check_plot`.
        bars: At least one.
        label: Of the vertical axis, with the unit.
        title: Above the picture.
    """
    from matplotlib.figure import Figure

    groups, series = (list(dict.fromkeys(getattr(bar, name) for bar in bars)) for name in ("group", "series"))
    width = 0.8 / len(series)
    figure = Figure(figsize=(max(6.0, 1.2 + 0.5 * len(groups) * len(series)), 4.5), layout="constrained")
    axes = figure.add_subplot()
    for index, name in enumerate(series):
        own = [bar for bar in bars if bar.series == name]
        places = [groups.index(bar.group) + (index - (len(series) - 1) / 2) * width for bar in own]
        spread = [[bar.height - bar.lower for bar in own], [bar.upper - bar.height for bar in own]]
        drawn = axes.bar(places, [bar.height for bar in own], width * 0.92, yerr=spread, capsize=2, label=name)
        axes.bar_label(drawn, [f"{bar.height:.3g}" for bar in own], fontsize=7, padding=2)
    axes.margins(y=0.15)
    lowest, highest = (choose(bar.height for bar in bars) for choose in (min, max))
    if highest > _MUCH * lowest:
        axes.set_yscale("log")
        # All bars are seen, and the shortest is a bar still.
        axes.set_ylim(bottom=lowest / 3)
    axes.set_xticks(range(len(groups)), groups, fontsize=8)
    axes.set_ylabel(label)
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=8)
    save_plot(figure, path)


def _bar(row: NetworkRow | OpRow | FilmRow, group: str, series: str) -> Bar:
    assert row.ms is not None
    assert row.ms_lower is not None
    assert row.ms_upper is not None
    return Bar(group, series, row.ms, row.ms_lower, row.ms_upper)
