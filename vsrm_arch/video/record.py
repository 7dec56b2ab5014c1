"""What a run that writes a film leaves when it is stopped, and how the next one finds it.

``<name>.partial/`` beside the film holds the parts that are written and ``record.json``: what the film is made from,
and which parts are whole.
"""

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from vsrm_arch.errors import UserError
from vsrm_arch.files import remedy, replace_folder, write_text

__all__ = ["Record", "faults_named", "made_from", "partial_video"]

_NAME, _LOCK = "record.json", "lock"


class Record:
    """The record of a film in the making.

    Args:
        film: The film to be.
        recipe: What its frames are made from, in a form that JSON can hold.
        resume: Whether to go on after what an earlier run has left; it is removed otherwise.

    Attributes:
        folder: Where parts are written.
        parts: Those that are whole, a row of plain values each.

    Raises:
        UserError: If what an earlier run has left was made from something else, or is damaged.
    """

    def __init__(self, film: Path, recipe: Mapping[str, Any], resume: bool) -> None:
        self.folder = _folder(film)
        self._recipe = dict(recipe)
        self.parts: list[list[Any]] = []
        self._lock: BinaryIO | None = None
        if not self.folder.exists():
            return
        if resume:
            earlier, self.parts = _read(self.folder)
            _check_same(self.folder, earlier, self._recipe)
        else:
            self._take_lock()
            self.remove()

    def add(self, *part: Any) -> None:
        """Adds a part that is whole."""
        self.parts.append(list(part))
        self.write()

    def begin(self) -> None:
        """Makes the folder, for this run alone.

        Raises:
            UserError: If another run is writing there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        self.write()

    def _take_lock(self) -> None:
        """Takes a lock that the system lets go when its holder dies, where there are such locks."""
        with suppress(ImportError):
            import fcntl

            self._lock = (self.folder / _LOCK).open("wb")
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # by the system, the one or the other
                raise UserError(f"{self.folder} is being written by another run; wait for it, or stop it") from None
            except OSError:  # a file system without locks
                return

    def write(self) -> None:
        """Writes the record."""
        write_text(self.folder / _NAME, json.dumps({"recipe": self._recipe, "parts": self.parts}))

    def remove(self) -> None:
        """Removes the folder with all that is in it.

        Raises:
            UserError: If it is none of ours.
        """
        if self.folder.exists():
            if not (self.folder / _NAME).exists() and any(file.name != _LOCK for file in self.folder.iterdir()):
                raise UserError(f"{self.folder} holds something else than a part of a film; move it away")
            shutil.rmtree(self.folder)
        self._lock = None

    def become(self, film: Path) -> None:
        """Gives the folder the name of the film, which is one of pictures; one that lay there is replaced."""
        replace_folder(self.folder, film)
        for name in (_NAME, _LOCK):
            (film / name).unlink(missing_ok=True)
        self._lock = None


def made_from(film: Path) -> dict[str, Any] | None:
    """The recipe of what an earlier run has left of a film; None if it has left nothing.

    Raises:
        UserError: If that is damaged.
    """
    folder = _folder(film)
    return _read(folder)[0] if folder.exists() else None


@contextmanager
def faults_named(film: Path) -> Iterator[None]:
    """Turns faults of the file system within a block into one line.

    Args:
        film: The film that is being written.

    Raises:
        UserError: If the disk is full or cannot be written.
    """
    try:
        yield
    except OSError as error:  # PyAV's of the file system are some, too
        what = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"fails ({error.strerror or error})"
        raise UserError(f"{film}: the disk {what}; {remedy(error)}") from error


def partial_video(film: Path) -> Path:
    """Where the part of a film lies that a run has made which was interrupted."""
    return film.with_name(f"{film.stem}.partial{film.suffix}")


def _folder(film: Path) -> Path:
    return film.with_name(f"{film.name}.partial")


def _read(folder: Path) -> tuple[dict[str, Any], list[list[Any]]]:
    try:
        record = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        return dict(record["recipe"]), [list(part) for part in record["parts"]]
    except FileNotFoundError:  # stopped before the first part was whole
        return {}, []
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is damaged; start again with --force, without --resume") from None


def _check_same(folder: Path, earlier: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    for key, value in json.loads(json.dumps(dict(recipe))).items():
        if earlier and earlier.get(key) != value:
            raise UserError(
                f"--resume: what {folder} holds was made with {key} {earlier.get(key)}, not {value}; give the same, or "
                "start again with --force, without --resume"
            )
