"""Files that are either whole or not there."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vsrm_arch.errors import UserError

__all__ = ["atomic_write", "remove_partial_files"]

_PARTIAL = ".partial"


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of ``path`` when the block ends, and only if it ends without an error.

    Whoever reads ``path`` finds the old content or the new one, also after a crash or a power cut in between.

    Args:
        path: The file to write; its folder exists.

    Yields:
        The open file, a hidden neighbour of ``path``.

    Raises:
        UserError: If the file cannot be written (disk full, no permission).
    """
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(
                f"cannot write {path}: {error.strerror or error}; the files written before are intact: make room or "
                "mend the folder's permissions, then go on (training: with --auto_resume)"
            ) from error
        raise


def remove_partial_files(folders: Iterable[Path]) -> None:
    """Removes what writes that were killed have left in ``folders``."""
    for folder in folders:
        for partial in folder.glob(f".*{_PARTIAL}"):
            partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` outlive a power cut; not every file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
