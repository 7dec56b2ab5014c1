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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import lmdb

from vsrm_arch.data.errors import DataError
from vsrm_arch.data.images import image_size, png_size
from vsrm_arch.data.sources import expected_bytes, open_frames, open_lmdb
from vsrm_arch.errors import UserError
from vsrm_arch.files import atomic_write, remedy, remove_partial_files, replace_folder, write_text
from vsrm_arch.wording import counted

__all__ = ["FolderTarget", "LmdbTarget", "Target", "listing", "write_meta_info", "writing"]

_logger = logging.getLogger("basicsr.vsrm_arch")

# Hidden, because BasicSR takes every visible entry of a test folder for a clip.
_RECIPE = ".prepare.json"
# Stands in it beside the recipe.
_FRAMES = "frames"
_MAP_STEP = 256 * 2**20
_BATCH_BYTES = 64 * 2**20
_DAMAGED = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError)


@contextmanager
def writing(folder: Path, kept: Callable[[], str]) -> Iterator[None]:
    """Turns faults of the file system into one line.

    Args:
        folder: Where the ``with`` block writes.
        kept: Says what is left of the work when it is stopped.

    Raises:
        UserError: If the disk is full or ``folder`` cannot be written.
    """
    full = f"the disk of {folder.absolute()} is full; make room and run the same command again"
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{full}, {kept()}") from error
        where = error.filename or folder
        raise UserError(
            f"{where}: {error.strerror}; {remedy(error)} and run the same command again, {kept()}"
        ) from error
    except lmdb.Error as error:
        # LMDB reports a write that was cut short as an input/output error.
        if os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(folder).free < 2 * _BATCH_BYTES:
            raise UserError(f"{full}, {kept()}") from error
        raise UserError(f"{folder}: {error}; mend that and run the same command again, {kept()}") from error


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
        self.path, self.recipe, self.force = path, recipe, force
        self.partial = path.with_name(path.name + ".partial")
        self.finished = path.exists() and not force
        if self.finished:
            self._check_finished()
        elif self.partial.exists() and self._recipe_of(self.partial)[0] != recipe:
            if not force:
                raise UserError(f"{self.partial} is left from a run with other data; delete it or use --force")
            shutil.rmtree(self.partial)

    def _check_finished(self) -> None:
        recipe, made = self._recipe_of(self.path)
        if recipe != self.recipe:
            raise UserError(
                f"{self.path} is there already and was not made from the same data; move it away or use --force"
            )
        try:
            there = self._count(self.path)
        except DataError as error:
            raise DataError(f"{self.path} is damaged; use --force to make it again") from error
        if there != made:
            raise UserError(
                f"{self.path} holds {counted(there, 'frame')}, but {made} were written; use --force to make it again"
            )

    @staticmethod
    def _recipe_of(path: Path) -> tuple[object, object]:
        """What a target was made from, and the number of its frames, known once it is complete."""
        try:
            recipe = json.loads((path / _RECIPE).read_text(encoding="utf-8"))
            return recipe, recipe.pop(_FRAMES, None)
        except (OSError, ValueError, AttributeError):
            return None, None

    def open(self) -> set[str]:
        """Makes ready to write.

        Returns:
            The keys that an earlier run has written already.
        """
        self.partial.mkdir(parents=True, exist_ok=True)
        if self._recipe_of(self.partial)[0] is None:
            write_text(self.partial / _RECIPE, json.dumps(self.recipe))
        return self._open()

    def finish(self) -> None:
        """Completes the target and gives it its name; a finished one of that name is replaced only now."""
        self.flush()
        self._complete()
        write_text(self.partial / _RECIPE, json.dumps({**self.recipe, _FRAMES: self._count(self.partial)}))
        replace_folder(self.partial, self.path)

    @abstractmethod
    def _open(self) -> set[str]: ...

    @abstractmethod
    def _complete(self) -> None: ...

    @staticmethod
    @abstractmethod
    def _count(path: Path) -> int:
        """Number of frames of a complete target."""

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
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        try:
            return self._open_environment()
        except DataError:
            if not self.force:
                raise
            self.close()
            (self.partial / "data.mdb").unlink()
            return self._open_environment()

    def _open_environment(self) -> set[str]:
        data = self.partial / "data.mdb"
        self._size = (data.stat().st_size if data.exists() else 0) + _MAP_STEP
        with self._damage_named():
            self._environment = lmdb.open(str(self.partial), map_size=self._size)
            if data.stat().st_size < expected_bytes(self._environment):
                raise lmdb.CorruptedError("it is cut short")
            with self._environment.begin() as transaction:
                return {bytes(key).decode() for key in transaction.cursor().iternext(values=False)}

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            remedy = "delete it" if self.force else "delete it or use --force"
            raise DataError(f"the partial LMDB {self.partial} is damaged ({error}); {remedy}") from error

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
                with self._damage_named(), self._environment.begin(write=True) as transaction:
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
        with self._damage_named(), self._environment.begin(buffers=True) as transaction:
            for key, value in transaction.cursor():
                height, width = png_size(value)
                lines.append(f"{bytes(key).decode()}.png ({height},{width},3) 1\n")
        write_text(self.partial / "meta_info.txt", "".join(lines))
        self.close()

    @staticmethod
    def _count(path: Path) -> int:
        with open_lmdb(path) as environment:
            return int(environment.stat()["entries"])

    def close(self) -> None:
        """Closes the environment, see :meth:`Target.close`."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None


class FolderTarget(Target):
    """A folder of clip folders of PNG files."""

    def _open(self) -> set[str]:
        return {path.relative_to(self.partial).with_suffix("").as_posix() for path in self.partial.rglob("*.png")}

    @staticmethod
    def _count(path: Path) -> int:
        return sum(1 for _ in path.rglob("*.png"))

    def put(self, key: str, png: bytes) -> None:
        """Writes a frame, see :meth:`Target.put`."""
        path = self.partial / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, sync=False) as file:
            file.write(png)

    def flush(self) -> None:
        """Nothing is held back, see :meth:`Target.flush`."""

    def _complete(self) -> None:
        remove_partial_files(path for path in self.partial.rglob("*") if path.is_dir())

    def close(self) -> None:
        """Nothing is open, see :meth:`Target.close`."""
