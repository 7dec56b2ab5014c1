"""How a long axis is covered by overlapping pieces of one length."""

from vsrm_arch.errors import UserError

__all__ = ["check_overlap", "spans"]


def spans(length: int, size: int, overlap: int, what: str) -> list[tuple[int, int]]:
    """Covers ``range(length)`` with pieces of ``size``.

    Neighbours share at least ``overlap`` positions. The last piece is moved back so that it ends at ``length``: all
    pieces have the same size, unless the axis is shorter than one piece.

    Args:
        length: Positions to cover, at least 1.
        size: Length of a piece.
        overlap: Positions that neighbours share.
        what: Name of the piece, for the message.

    Returns:
        ``(start, end)`` of each piece, starts and ends both strictly increasing.

    Raises:
        UserError: If the pieces cannot cover the axis.

    Example:
        >>> spans(10, size=4, overlap=1, what="window")
        [(0, 4), (3, 7), (6, 10)]
    """
    check_overlap(size, overlap, what)
    if length <= size:
        return [(0, length)]
    starts = [*range(0, length - size, size - overlap), length - size]
    return [(start, start + size) for start in starts]


def check_overlap(size: int, overlap: int, what: str) -> None:
    """Checks that pieces of ``size`` that share ``overlap`` positions can cover an axis.

    Args:
        size: Length of a piece.
        overlap: Positions that neighbours share.
        what: Name of the piece, for the message.

    Raises:
        UserError: If they cannot.
    """
    if size < 1:
        raise UserError(f"{what}: its size is {size}; it must be at least 1")
    if not 0 <= overlap < size:
        raise UserError(f"{what}: the overlap is {overlap}; it must be at least 0 and smaller than the size, {size}")
