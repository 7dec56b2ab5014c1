"""Pictures drawn with matplotlib. Needs the extra ``plot``."""

from pathlib import Path
from typing import Any

from vsrm_arch.errors import UserError
from vsrm_arch.files import atomic_write

__all__ = ["check_plot", "save_plot"]

_FORMATS = (".png", ".svg", ".pdf")


def check_plot(path: Path, flag: str = "--plot") -> None:
    """Raises a UserError unless matplotlib could write this file, which a flag names."""
    if path.suffix not in _FORMATS:
        raise UserError(f"{flag} {path}: no picture format; name a file that ends in {', '.join(_FORMATS)}")
    if path.is_dir() or not path.parent.is_dir():
        fault = "is a folder" if path.is_dir() else f"there is no folder {path.parent}; make it first"
        raise UserError(f"{flag} {path}: {fault}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(f"{flag} needs matplotlib: pip install 'vsrm-arch[plot]'") from None


def save_plot(figure: Any, path: Path) -> None:
    """Writes a figure of matplotlib, whole or not at all.

    Args:
        figure: ``matplotlib.figure.Figure``.
        path: See :func:`check_plot`.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=150)
