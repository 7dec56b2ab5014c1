"""Reading, the network and writing at the same time: a thread each for the first and the last."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["ahead", "behind"]

Item = TypeVar("Item")
_END: Any = object()


def ahead(items: Iterable[Item], number: int) -> Iterator[Item]:
    """Takes items in a thread, so many ahead of the one that is wanted; errors come where their item would."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, "reading") as thread:
        waiting: deque[Future[Item]] = deque(thread.submit(next, iterator, _END) for _ in range(number))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def behind(function: Callable[..., None], number: int) -> Iterator[Callable[..., None]]:
    """Calls a function in a thread, in order; the caller waits only where so many calls are waiting.

    Yields:
        What to call in its place. It raises what an earlier call has raised; after that, nothing is called any more.

    Raises:
        Exception: What the last calls raise, when the block ends without an error.
    """
    with ThreadPoolExecutor(1, "writing") as thread:
        waiting: deque[Future[None]] = deque()
        failed = False

        def guarded(*arguments: Any) -> None:
            # What comes behind a fault has lost its place.
            nonlocal failed
            if failed:
                return
            try:
                function(*arguments)
            except BaseException:
                failed = True
                raise

        def call(*arguments: Any) -> None:
            if len(waiting) >= number:
                waiting.popleft().result()
            waiting.append(thread.submit(guarded, *arguments))

        try:
            yield call
        finally:
            # Those that are under way end, whatever has happened: what is finished is not thrown away.
            while waiting:
                waiting.popleft().result()
