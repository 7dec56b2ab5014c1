"""What captures work on a device and does it again: CUDA graphs."""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

__all__ = ["CudaRecorder", "Recorder"]

Result = TypeVar("Result")


class Recorder(Protocol):
    """Records what a function does on a device, so that it can be done again."""

    def accepts(self, x: Tensor) -> bool:
        """Whether work on x's device can be recorded now."""

    def record(self, function: Callable[[], Result]) -> tuple[Callable[[], object], Result]:
        """Runs ``function`` to warm up and once more to record it.

        Args:
            function: Reads and writes the same memory whenever it is called.

        Returns:
            What does the recorded work again, and what ``function`` has returned: tensors that each replay overwrites.

        Raises:
            RuntimeError: If something cannot be recorded, or the memory does not suffice.
        """


class CudaRecorder:
    """A :class:`Recorder` of CUDA graphs that share one memory pool."""

    def __init__(self) -> None:
        self._device: int | None = None

    def accepts(self, x: Tensor) -> bool:
        """Whether x is on the current GPU, and its default stream, whose order the shared memory relies on, in use."""
        return (
            x.device.type == "cuda"
            and x.device.index == torch.cuda.current_device()
            and torch.cuda.current_stream() == torch.cuda.default_stream()
            and not torch.cuda.is_current_stream_capturing()
        )

    def record(self, function: Callable[[], Result]) -> tuple[Callable[[], object], Result]:
        """As :meth:`Recorder.record` says."""
        if self._device != torch.cuda.current_device():
            self._device = torch.cuda.current_device()
            self._stream = torch.cuda.Stream()
            self._graphs: WeakValueDictionary[int, torch.cuda.CUDAGraph] = WeakValueDictionary()
        if not self._graphs:
            # A pool whose graphs are all gone takes no new one.
            self._pool = torch.cuda.graph_pool_handle()
        # What is compiled, tuned or allocated at a first call must not be met in a capture.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            function()
        torch.cuda.current_stream().wait_stream(self._stream)

        graph = torch.cuda.CUDAGraph()
        # A capture that fails may leave its stream the current one: the outer context takes it back.
        with torch.cuda.stream(self._stream):
            try:
                # Threads that load data call CUDA, too.
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    result = function()
            except BaseException:
                # A capture that became invalid ends before allocator and random number generator have been told.
                with suppress(RuntimeError):
                    torch._C._cuda_endAllocateToPool(self._device, self._pool)
                generator = torch.cuda.default_generators[self._device]
                generator.graphsafe_set_state(generator.clone_state())
                raise
        self._graphs[id(graph)] = graph
        return graph.replay, result
