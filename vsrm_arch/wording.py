"""Numbers and lists of names in messages."""

from collections.abc import Iterable

__all__ = ["counted", "some"]


def counted(number: int, noun: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some(names: Iterable[object], shown: int = 3) -> str:
    """The first names of a list that may be long: ``a, b, c, …``."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:shown]) + (", …" if len(listed) > shown else "")
