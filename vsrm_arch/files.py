"""Files and folders that are either whole or not there, and what a user can do where they cannot be written."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["atomic_path", "atomic_write", "remedy", "remove_partial_files", "replace_folder", "write_text"]

_PARTIAL = ".partial"
_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EACCES: "mend its permissions or use another folder",
    errno.EPERM: "mend its permissions or use another folder",
    errno.EROFS: "use a folder that can be written",
    errno.ENOTDIR: "move the file in its way",
    errno.EEXIST: "move what lies there",
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
}


@contextmanager
def atomic_write(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of ``path`` when the block ends, and only if it ends without an error.

    Whoever reads ``path`` finds the old content or the new one, also after a crash in between.

    Args:
        path: The file to write; its folder exists.
        sync: Whether this holds after a power cut as well, which takes time: not for many small files.

    Yields:
        The open file, a hidden neighbour of ``path``.

    Raises:
        OSError: If the file cannot be written (disk full, no permission); its ``filename`` is ``path``.
    """
    with atomic_path(path, sync) as partial, partial.open("wb") as file:
        yield file
        if sync:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def atomic_path(path: Path, sync: bool = True) -> Iterator[Path]:
    """The same for writers that open their file themselves.

    Args:
        path: The file to write; its folder exists.
        sync: Whether the rename outlives a power cut; the content is for the writer to sync.

    Yields:
        A hidden neighbour of ``path`` to write to.

    Raises:
        OSError: As :func:`atomic_write` does.
    """
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    try:
        yield partial
        partial.replace(path)
        if sync:
            _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            # A write that fails names no file, an opening the hidden one.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all, see :func:`atomic_write`, and makes its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def remove_partial_files(folders: Iterable[Path]) -> None:
    """Removes what writes that were killed have left in ``folders``."""
    for folder in folders:
        for partial in folder.glob(f".*{_PARTIAL}"):
            partial.unlink(missing_ok=True)


def replace_folder(new: Path, path: Path) -> None:
    """Gives a complete folder its name.

    One of that name is kept beside it as ``.<name>.old`` until then: there is a complete one at every moment.

    Args:
        new: The folder, on the same disk.
        path: Its name to be.

    Raises:
        OSError: If it cannot be renamed; then the one before has its name again.
    """
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        if old.exists():
            shutil.rmtree(old)
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    if old.exists():
        shutil.rmtree(old)


def remedy(error: OSError) -> str:
    """What a user can do about a fault of the file system: the end of a message that names the file and the fault."""
    return _REMEDIES.get(error.errno or 0, "mend that")


def _sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` outlive a power cut; not every file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
