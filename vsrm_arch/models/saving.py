"""Saving what a run has made."""

from pathlib import Path

from vsrm_arch.errors import UserError
from vsrm_arch.files import atomic_write, remedy

__all__ = ["save"]


def save(path: Path, content: bytes | memoryview) -> None:
    """Writes a file of an experiment, whole or not at all.

    Args:
        path: The file to write; its folder exists.
        content: What it is to hold.

    Raises:
        UserError: If it cannot be written (disk full, no permission); the file that was there before is intact.
    """
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; the files written before are intact: {remedy(error)}, "
            "then go on (training: with --auto_resume)"
        ) from error
