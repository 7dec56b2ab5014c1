"""What `prepare` writes: an LMDB or a folder of frames that appears under its name only when it is complete.

Work goes to ``<name>.partial``. A run that is stopped, by Ctrl-C, a full disk or a kill, leaves it there, and the next
run goes on with the frames that are missing: what lies in it *is* the record of what is done.
"""

import errno
import json
import logging
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import lmdb

from vsrm_arch.data.images import image_size, png_size
from vsrm_arch.data.sources import open_frames
from vsrm_arch.errors import UserError

__all__ = ["FolderTarget", "LmdbTarget", "Target", "listing", "write_meta_info", "write_text", "writing"]

_logger = logging.getLogger("basicsr.vsrm_arch")

# Hidden, because BasicSR takes every visible entry of a test folder for a clip.
_RECIPE = ".prepare.json"
_MAP_STEP = 256 * 2**20
_BATCH_BYTES = 64 * 2**20


@contextmanager
def writing(folder: Path, kept: str) -> Iterator[None]:
    """Turns faults of the file system into one line.

    Args:
        folder: Where the ``with`` block writes.
        kept: What is left of the work when it is stopped.

    Raises:
        UserError: If the disk is full or ``folder`` cannot be written.
    """
    full = f"the disk of {folder.absolute()} is full; make room and run the same command again, {kept}"
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(full) from error
        where = error.filename or folder
        raise UserError(f"{where}: {error.strerror}; mend that and run the same command again, {kept}") from error
    except lmdb.Error as error:
        # LMDB reports a write that was cut short as an input/output error.
        if os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(folder).free < 2 * _BATCH_BYTES:
            raise UserError(full) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a small text file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(path)


def listing(root: Path) -> dict[str, tuple[int, tuple[int, int]]]:
    """Clips of a finished LMDB or folder: their number of frames, and the frames' height and width."""
    source = open_frames(root)
    result = {}
    for clip, frames in source.clips.items():
        size = source.sizes[clip] if clip in source.sizes else image_size(root / frames[0])
        result[clip] = len(frames), size
    return result


def write_meta_info(path: Path, clips: Mapping[str, tuple[int, tuple[int, int]]]) -> None:
    """Lists clips as BasicSR's data sets read them: ``000 100 (720,1280,3)`` a line.

    Args:
        path: The list to write.
        clips: Number of frames, and height and width, of each clip.
    """
    lines = [f"{clip} {count} ({height},{width},3)\n" for clip, (count, (height, width)) in sorted(clips.items())]
    write_text(path, "".join(lines))


class Target(ABC):
    """A set of frames on disk in the making.

    Args:
        path: Where it is to lie.
        recipe: What goes into it, in a form that JSON can hold; two runs with the same recipe make the same frames.
        force: Replace a finished target.

    Attributes:
        finished: Whether a finished one with this recipe is there, so that nothing is to be done.

    Raises:
        UserError: If something else lies there.
    """

    def __init__(self, path: Path, recipe: dict[str, object], force: bool = False) -> None:
        self.path, self.recipe = path, recipe
        self.partial = path.with_name(path.name + ".partial")
        self.finished = path.exists() and not force
        if self.finished and self._recipe_of(path) != recipe:
            raise UserError(f"{path} is there already and was not made from the same data; move it away or use --force")
        if not self.finished and self.partial.exists() and self._recipe_of(self.partial) != recipe:
            if not force:
                raise UserError(f"{self.partial} is left from a run with other data; delete it or use --force")
            shutil.rmtree(self.partial)

    @staticmethod
    def _recipe_of(path: Path) -> object:
        try:
            return json.loads((path / _RECIPE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def open(self) -> set[str]:
        """Makes ready to write.

        Returns:
            The keys that an earlier run has written already.
        """
        self.partial.mkdir(parents=True, exist_ok=True)
        if self._recipe_of(self.partial) is None:
            write_text(self.partial / _RECIPE, json.dumps(self.recipe))
        return self._open()

    def finish(self) -> None:
        """Completes the target and gives it its name; a finished one of that name is replaced only now."""
        self.flush()
        self._complete()
        old = self.path.with_name(self.path.name + ".old")
        if old.exists():
            shutil.rmtree(old)
        if self.path.exists():
            self.path.rename(old)
        self.partial.rename(self.path)
        if old.exists():
            shutil.rmtree(old)

    @abstractmethod
    def _open(self) -> set[str]: ...

    @abstractmethod
    def _complete(self) -> None: ...

    @abstractmethod
    def put(self, key: str, png: bytes) -> None:
        """Adds a frame, ``clip/frame`` without suffix."""

    @abstractmethod
    def flush(self) -> None:
        """Makes sure that what was put survives a kill."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the files; what was flushed stays."""


class LmdbTarget(Target):
    """An LMDB with BasicSR's ``meta_info.txt``.

    The memory map grows with the data: nothing of a fixed size has to be reserved, on any system.
    """

    _environment: lmdb.Environment | None = None

    def _open(self) -> set[str]:
        data = self.partial / "data.mdb"
        self._size = (data.stat().st_size if data.exists() else 0) + _MAP_STEP
        self._environment = lmdb.open(str(self.partial), map_size=self._size)
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        with self._environment.begin() as transaction:
            return {bytes(key).decode() for key in transaction.cursor().iternext(values=False)}

    def put(self, key: str, png: bytes) -> None:
        """Adds a frame, see :meth:`Target.put`."""
        self._pending.append((key.encode("ascii"), png))
        self._pending_bytes += len(png)
        if self._pending_bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Commits, see :meth:`Target.flush`."""
        assert self._environment is not None
        while self._pending:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in self._pending:
                        transaction.put(key, value)
            except lmdb.MapFullError:
                self._size += _MAP_STEP
                self._environment.set_mapsize(self._size)
            else:
                self._pending.clear()
                self._pending_bytes = 0

    def _complete(self) -> None:
        assert self._environment is not None
        lines = []
        with self._environment.begin(buffers=True) as transaction:
            for key, value in transaction.cursor():
                height, width = png_size(value)
                lines.append(f"{bytes(key).decode()}.png ({height},{width},3) 1\n")
        write_text(self.partial / "meta_info.txt", "".join(lines))
        self.close()

    def close(self) -> None:
        """Closes the environment, see :meth:`Target.close`."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None


class FolderTarget(Target):
    """A folder of clip folders of PNG files."""

    def _open(self) -> set[str]:
        return {path.relative_to(self.partial).with_suffix("").as_posix() for path in self.partial.rglob("*.png")}

    def put(self, key: str, png: bytes) -> None:
        """Writes a frame, see :meth:`Target.put`."""
        path = self.partial / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(png)
        temporary.replace(path)

    def flush(self) -> None:
        """Nothing is held back, see :meth:`Target.flush`."""

    def _complete(self) -> None:
        for left_over in self.partial.rglob("*.tmp"):
            left_over.unlink()

    def close(self) -> None:
        """Nothing is open, see :meth:`Target.close`."""
