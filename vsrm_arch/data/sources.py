"""Where frames come from: an LMDB with BasicSR's ``meta_info.txt``, or a folder of clip folders.

Neither keeps a file open between two reads, so that a source can be pickled, forked and shared between data sets.
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import lmdb
import numpy as np
from numpy.typing import NDArray

from vsrm_arch.data.errors import DataError
from vsrm_arch.data.images import decode, is_image, natural_key, read_image
from vsrm_arch.wording import some

__all__ = [
    "DiskFrames",
    "FrameSource",
    "LmdbFrames",
    "expected_bytes",
    "find_clips",
    "is_lmdb",
    "open_frames",
    "open_lmdb",
]

# An LMDB may be open only once in a process: readers in several threads share one environment while they read.
_open: dict[str, tuple[lmdb.Environment, int]] = {}
_open_lock = threading.Lock()


def _renew_lock() -> None:
    global _open_lock
    _open_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # A worker forked while another thread holds the lock would wait for it for ever.
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def open_lmdb(path: Path) -> Iterator[lmdb.Environment]:
    """Opens an LMDB for reading, for as long as the ``with`` block lasts.

    Raises:
        DataError: If it is missing, no LMDB, or cut short, or if the block meets a damaged page.
    """
    name = os.path.realpath(path)
    with _open_lock:
        if name not in _open:
            _open[name] = (_checked_environment(path), 0)
        environment, users = _open[name]
        _open[name] = (environment, users + 1)
    try:
        yield environment
    except lmdb.Error as error:
        raise DataError(f"{path} is damaged ({error}); copy it again or make it with `basicsr prepare`") from None
    finally:
        with _open_lock:
            environment, users = _open[name]
            if users > 1:
                _open[name] = (environment, users - 1)
            else:
                del _open[name]
                environment.close()


def _checked_environment(path: Path) -> lmdb.Environment:
    data = path / "data.mdb"
    if not data.is_file():
        raise DataError(f"{path} is no LMDB: it holds no data.mdb; check the path or make it with `basicsr prepare`")
    try:
        environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False, create=False)
    except lmdb.Error as error:
        if "already open" in str(error):
            raise DataError(
                f"{path} is held open by another data set of this process; use VideoClipDataset for both"
            ) from None
        raise DataError(f"{path} is no readable LMDB ({error}); make it again with `basicsr prepare`") from None
    there, expected = data.stat().st_size, expected_bytes(environment)
    if there < expected:
        environment.close()
        raise DataError(
            f"{data} is truncated ({there:,} of {expected:,} bytes); copy it again or make it with `basicsr prepare`"
        )
    return environment


def expected_bytes(environment: lmdb.Environment) -> int:
    """The size that an LMDB's file must have: reading past the end of a shorter one kills the process."""
    return int((environment.info()["last_pgno"] + 1) * environment.stat()["psize"])


class FrameSource(ABC):
    """Clips of frames.

    Attributes:
        root: The LMDB or folder.
        clips: The name of each clip and the names of its frames, in order.
        sizes: Height and width of the clips for which they are known without decoding a frame.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clips: dict[str, tuple[str, ...]] = {}
        self.sizes: dict[str, tuple[int, int]] = {}

    def where(self, clip: str, index: int) -> str:
        """Names a frame in a message."""
        return str(self.root / self.clips[clip][index])

    def key(self, clip: str, index: int) -> str:
        """Names a frame as BasicSR does, ``clip/frame`` without a suffix."""
        return self.clips[clip][index]

    @abstractmethod
    def read(self, clip: str, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Reads frames of a clip.

        Args:
            clip: The clip's name.
            indices: Positions in the clip; the same may come twice.

        Returns:
            A ``(H, W, 3)`` array for each index, RGB, 0 to 255, all of one size.

        Raises:
            DataError: If a frame is missing, unreadable or of another size.
        """

    def _check_sizes(self, clip: str, indices: Sequence[int], frames: list[NDArray[np.uint8]]) -> None:
        for index, frame in zip(indices, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise DataError(
                    f"{self.where(clip, index)} has {frame.shape[1]}x{frame.shape[0]} pixels, but "
                    f"{self.where(clip, indices[0])} has {frames[0].shape[1]}x{frames[0].shape[0]}; "
                    "the frames of a clip must have one size"
                )


class LmdbFrames(FrameSource):
    """Frames in an LMDB as BasicSR makes them: keys ``clip/frame``, listed in ``meta_info.txt``."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        with open_lmdb(root):
            pass
        listing = root / "meta_info.txt"
        if not listing.is_file():
            raise DataError(f"{root} has no meta_info.txt (not finished?); make it again with `basicsr prepare`")
        clips: dict[str, list[str]] = {}
        for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), 1):
            try:
                name, size, _ = line.rsplit(" ", 2)
                height, width = (int(side) for side in size.strip("()").split(",")[:2])
                clip, _ = name.rsplit("/", 1)
            except ValueError:
                raise DataError(
                    f"{listing}, line {number}: expected `clip/frame.png (h,w,c) 1`, not `{line}`"
                ) from None
            clips.setdefault(clip, []).append(name.rsplit(".", 1)[0])
            self.sizes.setdefault(clip, (height, width))
        self.clips = {clip: tuple(sorted(keys, key=natural_key)) for clip, keys in clips.items()}

    def read(self, clip: str, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Reads frames of a clip, see :meth:`FrameSource.read`."""
        frames: dict[int, NDArray[np.uint8]] = {}
        with open_lmdb(self.root) as environment, environment.begin() as transaction:
            for index in dict.fromkeys(indices):
                data = transaction.get(self.clips[clip][index].encode())
                if data is None:
                    raise DataError(
                        f"{self.root} has no key {self.clips[clip][index]}, though meta_info.txt lists it; "
                        "make it again with `basicsr prepare`"
                    )
                frames[index] = decode(data, self.where(clip, index))[..., ::-1]
        result = [frames[index] for index in indices]
        self._check_sizes(clip, indices, result)
        return result


def find_clips(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Walks a folder for the folders that hold frames.

    Args:
        root: A folder of clip folders, at any depth.

    Yields:
        The clip's path below ``root`` (with forward slashes) and its frames' file names, in natural order.

    Raises:
        DataError: If a frame lies there twice.
    """
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = sorted((name for name in subfolders if not name.startswith(".")), key=natural_key)
        frames = _frames_among(Path(folder), files)
        if frames:
            yield Path(folder).relative_to(root).as_posix(), frames


def _frames_among(folder: Path, files: Iterable[str]) -> list[str]:
    """The frames among a clip's files, in natural order."""
    frames = sorted((name for name in files if is_image(Path(name))), key=natural_key)
    seen: dict[str, str] = {}
    for name in frames:
        first = seen.setdefault(Path(name).stem, name)
        if first != name:
            raise DataError(f"{folder / first} and {folder / name} are the same frame; remove one of them")
    return frames


class DiskFrames(FrameSource):
    """Frames in a folder of clip folders, of any image type and naming, in natural order.

    Args:
        root: The folder.
        only: The clips to look for; all of them by default. A long list of clips is found without walking the disk.
    """

    def __init__(self, root: Path, only: Sequence[str] | None = None) -> None:
        super().__init__(root)
        if not root.is_dir():
            raise DataError(f"{root} is no folder; name a folder of clip folders, or an LMDB")
        found = dict(find_clips(root) if only is None else self._listed(root, only))
        if "." in found:
            raise DataError(
                f"{root} holds frames itself ({some(found['.'], shown=1)}), but must hold a folder of frames for each "
                "clip; move them into a folder below it, or name the folder above it"
            )
        self.clips = {clip: tuple(f"{clip}/{name}" for name in names) for clip, names in found.items()}
        if not self.clips and only is None:
            raise DataError(f"{root} holds no clips: expected a folder of frames (png, jpg, bmp, tif) for each clip")

    def key(self, clip: str, index: int) -> str:
        """Names a frame, see :meth:`FrameSource.key`."""
        return str(PurePosixPath(self.clips[clip][index]).with_suffix(""))

    @staticmethod
    def _listed(root: Path, only: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        for clip in only:
            if (root / clip).is_dir():
                frames = _frames_among(root / clip, (path.name for path in (root / clip).iterdir()))
                if frames:
                    yield clip, frames

    def read(self, clip: str, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Reads frames of a clip, see :meth:`FrameSource.read`."""
        frames = {i: read_image(self.root / self.clips[clip][i])[..., ::-1] for i in dict.fromkeys(indices)}
        result = [frames[index] for index in indices]
        self._check_sizes(clip, indices, result)
        return result


def is_lmdb(path: Path) -> bool:
    """Whether a path is meant as an LMDB: by its name, as in BasicSR, or by what lies there."""
    return path.suffix == ".lmdb" or (path / "data.mdb").is_file()


def open_frames(path: Path, only: Sequence[str] | None = None) -> FrameSource:
    """Opens an LMDB or a folder of clip folders.

    Args:
        path: Where it lies.
        only: The clips that are wanted, where that is known.

    Raises:
        DataError: If it is missing or broken.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist (looked for in {Path.cwd()}); run from the folder that holds datasets/, "
            "or make it with `basicsr prepare`"
        )
    if is_lmdb(path):
        return LmdbFrames(path)
    databases = sorted(str(child) for child in path.glob("*.lmdb"))
    if databases:
        raise DataError(f"{path} holds several sets of frames; name one of them: {', '.join(databases)}")
    return DiskFrames(path, only)
