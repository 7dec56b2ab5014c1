"""What was measured, as a Markdown table, as CSV and as JSON."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vsrm_arch.bench.ceilings import Ceilings
from vsrm_arch.bench.films import FilmRow
from vsrm_arch.bench.networks import NetworkRow
from vsrm_arch.bench.ops import OpRow
from vsrm_arch.bench.published import PUBLISHED, Published
from vsrm_arch.files import write_text
from vsrm_arch.tables import markdown_table

__all__ = ["complexity_table", "film_table", "markdown", "network_table", "op_table", "write_csv", "write_json"]

Rows = Sequence[NetworkRow] | Sequence[OpRow] | Sequence[FilmRow]
Row = TypeVar("Row", NetworkRow, OpRow, FilmRow)
Column = tuple[str, Callable[[Row], str]]


def network_table(rows: Sequence[NetworkRow]) -> str:
    """A Markdown table of networks; all rows are of one mode."""
    per = "step" if rows and rows[0].mode == "train" else "frame"
    columns: list[Column[NetworkRow]] = [
        ("network", lambda row: row.network),
        ("size", lambda row: row.size),
        ("dtype", lambda row: row.dtype),
        (f"ms a {per}", _time),
        ("peak GiB", lambda row: _number(row.peak_gib, ".2f")),
        ("matrix share", lambda row: _number(row.matrix_share, ".1%")),
        ("GMAC a frame", lambda row: _number(row.gmac, ".4g")),
        ("scan, Gop", lambda row: _number(row.scan_gop or None, ".4g")),
        ("parameters", lambda row: f"{row.parameters:,}"),
    ]
    return _table(rows, columns, texts=3)


def complexity_table(rows: Sequence[NetworkRow]) -> str:
    """A Markdown table of networks with the paper's Table 8 beside them; without times where nothing was timed."""

    def published(text: Callable[[Published], str]) -> Callable[[NetworkRow], str]:
        return lambda row: text(PUBLISHED[row.parameters]) if row.parameters in PUBLISHED else "-"

    timed: list[Column[NetworkRow]] = [
        ("ms a frame", _time),
        ("peak GiB", lambda row: _number(row.peak_gib, ".2f")),
    ]
    columns: list[Column[NetworkRow]] = [
        ("network", lambda row: row.network),
        ("dtype", lambda row: row.dtype),
        ("parameters", lambda row: f"{row.parameters:,}"),
        ("GMAC", lambda row: _number(row.gmac, ".2f")),
        ("scan, Gop", lambda row: _number(row.scan_gop or None, ".2f")),
        *(timed if any(_time(row) != "-" for row in rows) else []),
        ("paper: parameters (M)", published(lambda p: f"{p.parameters}")),
        ("paper: FLOPs (G)", published(lambda p: f"{p.gflops}")),
        ("paper: ms, RTX A6000", published(lambda p: _number(p.ms, "g"))),
    ]
    return _table(rows, columns, texts=2)


def op_table(rows: Sequence[OpRow]) -> str:
    """A Markdown table of ops."""
    columns: list[Column[OpRow]] = [
        ("op", lambda row: row.op),
        ("shape", lambda row: row.shape),
        ("pass", lambda row: row.mode),
        ("dtype", lambda row: row.dtype),
        ("backend", lambda row: row.backend),
        ("ms", _time),
        ("speed-up", lambda row: f"{row.speedup:.2f} x {row.reference}" if row.speedup else "-"),
        ("peak GiB", lambda row: _number(row.peak_gib, ".2f")),
        ("GB", lambda row: _number(row.gigabytes, ".3g")),
        ("bandwidth share", lambda row: _number(row.bandwidth_share, ".1%")),
        ("Gexp/s", lambda row: _number(row.gigaexp_per_second, ".4g")),
    ]
    return _table(rows, columns, texts=5)


def film_table(rows: Sequence[FilmRow]) -> str:
    """A Markdown table of films."""
    columns: list[Column[FilmRow]] = [
        ("film", lambda row: row.film),
        ("size", lambda row: row.size),
        ("dtype", lambda row: row.dtype),
        ("stage", lambda row: row.stage),
        ("frames", lambda row: f"{row.frames:,}"),
        ("window", lambda row: str(row.window)),
        ("tile", lambda row: "whole" if row.tile is None else str(row.tile)),
        ("ms a frame", _time),
        ("over the network", lambda row: _number(row.over_network, "+.1%")),
        ("peak GiB", lambda row: _number(row.peak_gib, ".2f")),
        ("main memory, GiB", lambda row: _number(row.main_gib, ".2f")),
    ]
    return _table(rows, columns, texts=4)


def markdown(table: str, settings: str, environment: Mapping[str, str], ceilings: Ceilings | None) -> str:
    """A table with what must stand beside it.

    Args:
        table: Of :func:`network_table`, :func:`op_table` or :func:`film_table`.
        settings: A sentence: what was timed, and how often.
        environment: Of :func:`~vsrm_arch.bench.environment.environment`.
        ceilings: Of the device; None: nothing was timed.
    """
    lines = [table, "", settings]
    if ceilings is not None:
        flops = ", ".join(f"{dtype} {rate * 1e-12:.3g} TFLOP/s" for dtype, rate in ceilings.flops_per_second.items())
        lines.append(f"Measured ceilings: copy {ceilings.bytes_per_second * 1e-9:.4g} GB/s; matrix product {flops}.")
    lines += [
        "",
        *(f"- {name}: {value}" for name, value in environment.items()),
    ]
    return "\n".join(lines) + "\n"


def write_csv(path: Path, rows: Rows, environment: Mapping[str, str], ceilings: Ceilings | None) -> None:
    """Writes a line for each row, with the ceilings and the environment in each: the lines of several files add up."""
    lines = [
        {**dataclasses.asdict(row), "samples": " ".join(map(str, row.samples))}
        | {"ceiling_bytes_per_second": ceilings.bytes_per_second if ceilings else None}
        | {"ceiling_flops_per_second": ceilings.flops_per_second[row.dtype] if ceilings else None}
        | dict(environment)
        for row in rows
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, text.getvalue())


def write_json(path: Path, rows: Rows, environment: Mapping[str, str], ceilings: Ceilings | None) -> None:
    """Writes ``{"environment": {...}, "ceilings": {...}, "rows": [{...}, ...]}``."""
    content: dict[str, Any] = {
        "environment": dict(environment),
        "ceilings": dataclasses.asdict(ceilings) if ceilings else None,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    write_text(path, json.dumps(content, indent=2) + "\n")


def _table(rows: Sequence[Row], columns: Sequence[Column[Row]], texts: int) -> str:
    titles = [title for title, _ in columns]
    return markdown_table([titles, *([text(row) for _, text in columns] for row in rows)], texts)


def _time(row: NetworkRow | OpRow | FilmRow) -> str:
    """Median and quartiles, or why there are none; "-": it was not timed."""
    if row.ms is None:
        return "-" if row.status == "ok" else row.status
    return f"{row.ms:.4g} ({row.ms_lower:.4g}-{row.ms_upper:.4g})"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
