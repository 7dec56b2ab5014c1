"""Tables in Markdown."""

from collections.abc import Sequence

__all__ = ["markdown_table"]


def markdown_table(cells: Sequence[Sequence[str]], texts: int) -> str:
    """Columns padded to one width, so that the table can be read as it is.

    Args:
        cells: The titles, then the rows, all of one length.
        texts: The first columns, which are not numbers and stand to the left.

    Returns:
        The lines, without a line feed at the end.
    """
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(cells[0]))]

    def line(values: Sequence[str]) -> str:
        padded = (v.ljust(w) if i < texts else v.rjust(w) for i, (v, w) in enumerate(zip(values, widths, strict=True)))
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if i < texts else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])
