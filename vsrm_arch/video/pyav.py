"""PyAV, which reads and writes video files: the extra ``video``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vsrm_arch.errors import UserError

__all__ = ["SUFFIXES", "opened", "pyav"]

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".m2ts", ".y4m")


def pyav(what: str) -> Any:
    """The module ``av``.

    Args:
        what: What it is needed for, for the message.

    Raises:
        UserError: If it is not installed, or too old.
    """
    try:
        import av
    except ImportError:
        raise UserError(f'{what} needs PyAV: pip install "vsrm-arch[video]"') from None
    if _major(av) < 17:
        raise UserError(f'PyAV {av.__version__} is too old: {what} needs pip install --upgrade "vsrm-arch[video]"')
    return av


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Opens a video file: its container and its main video stream.

    Faults of reading it, also those within the block, name the file. Cover pictures are no video.

    Args:
        path: The file.

    Raises:
        UserError: If it is missing, no readable video, or PyAV is not installed.
    """
    av = pyav(f"reading {path}")
    # Tags in an old file's own alphabet are no reason to refuse it; from PyAV 19 on they never are.
    lenient = {"metadata_errors": "replace"} if _major(av) < 19 else {}
    try:
        with av.open(str(path), **lenient) as container:
            stream = main_stream(container)
            if stream is None:
                raise UserError(f"{path} holds no video; leave it out")
            yield container, stream
    except (av.error.FFmpegError, OSError, EOFError) as error:
        fault = getattr(error, "strerror", None) or error
        raise UserError(f"{path} is no readable video ({fault}); fetch it again or leave it out") from None


def main_stream(container: Any) -> Any:
    """The first video stream of a container that is no cover picture; None where there is none."""
    return next((stream for stream in container.streams.video if not is_cover(stream)), None)


def is_cover(stream: Any) -> bool:
    """Whether a stream is a picture that goes with the film, as a poster does."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _major(av: Any) -> int:
    return int(av.__version__.partition(".")[0])
