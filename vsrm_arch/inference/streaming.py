"""Films of any length: frames in, enlarged frames out, one after the other."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vsrm_arch.errors import UserError
from vsrm_arch.inference.fitting import MOST_FRAMES, Pieces, fit_pieces, given_pieces, measure_cost
from vsrm_arch.inference.memory import free_memory, is_out_of_memory
from vsrm_arch.inference.scenes import SceneCuts
from vsrm_arch.inference.super_resolution import super_resolve
from vsrm_arch.inference.windows import Window, windows
from vsrm_arch.precision import Precision, autocast
from vsrm_arch.sizes import size_requirements

__all__ = ["Upscaler", "film_windows", "upscale"]

_logger = logging.getLogger("basicsr.vsrm_arch")

Image = NDArray[Any]
_DTYPES = (np.uint8, np.uint16)


def upscale(
    frames: Iterable[Image],
    network: nn.Module,
    *,
    scale: int = 4,
    window: int | None = None,
    tile: int | None = None,
    memory: int | None = None,
    precision: Precision = "off",
    is_cut: Callable[[Image], bool] | None = None,
) -> Iterator[Image]:
    """Enlarges a film of any length in bounded memory.

    Args:
        frames: ``(H, W, 3)``, RGB, uint8 or uint16, all of one size and type.
        network: ``(B, T, 3, H, W) -> (B, T, 3, scale·H, scale·W)``, in [0, 1], on the device where it is to run.
        scale: The network's enlargement.
        window: Frames in one pass; None: as many as fit, 32 at most.
        tile: Side of a tile in pixels of the input; 0: whole frames; None: what fits.
        memory: Bytes to use at most; None: four fifths of what is free.
        precision: Mixed precision: "off", "bf16" or "fp16".
        is_cut: Called with every frame in order, says whether it begins a scene; None: :class:`SceneCuts`.

    Yields:
        ``(scale·H, scale·W, 3)``, of the frames' type; as many as there are frames.

    Raises:
        UserError: If frames are of another kind, differ in size, or the memory does not suffice.

    Example:
        >>> network = nn.Upsample(scale_factor=(1, 2, 2))
        >>> film = upscale((np.zeros((8, 8, 3), np.uint8) for _ in range(100)), network, scale=2)
        >>> next(film).shape
        (16, 16, 3)
    """
    return Upscaler(network, scale, precision, window, tile, memory)(frames, is_cut)


class Upscaler:
    """A network with its settings; see :func:`upscale`.

    Args:
        network: The network.
        scale: Its enlargement.
        precision: Mixed precision.
        window: Frames in one pass; None: what fits.
        tile: Side of a tile; 0: whole frames; None: what fits.
        memory: Bytes to use at most; None: four fifths of what is free.
    """

    def __init__(
        self,
        network: nn.Module,
        scale: int,
        precision: Precision = "off",
        window: int | None = None,
        tile: int | None = None,
        memory: int | None = None,
    ) -> None:
        if not isinstance(network, nn.Module):
            raise UserError(
                f"a {type(network).__name__} is no network (torch.nn.Module); of a loaded one that is .network"
            )
        self.network, self.scale, self.precision = network.eval(), scale, precision
        self.window, self.tile, self.memory = window, tile, memory
        weight = next(network.parameters(), None)
        self.device = torch.device("cpu") if weight is None else weight.device
        self._requirements = size_requirements(network)

    def plan(self, height: int, width: int, besides: int = 0) -> tuple[Pieces, int, float]:
        """Measures the network, and chooses windows and tiles for frames of a size.

        Args:
            height: Of a frame of the input.
            width: Likewise.
            besides: Bytes of main memory that something else is about to take, such as an encoder.

        Returns:
            The pieces, the bytes that they are expected to take on the device, and the seconds a frame. On the CPU the
            bytes are those of all that is held: frames that wait, and ``besides``, too.

        Raises:
            UserError: If not even the smallest pieces fit.
        """
        cost = measure_cost(self.enlarge, self.device, self._requirements)
        on_cpu = self.device.type == "cpu"
        budget = self.memory or int(0.8 * free_memory(self.device))
        # What waits in main memory: a window of enlarged frames in float32, and before and behind it two as pictures.
        each = 2 * 3 * 4 * self.scale**2 * height * width
        room = (budget - besides) // 2 if on_cpu else int(0.5 * free_memory(torch.device("cpu"))) - besides
        most = min(max(room // each, 1), MOST_FRAMES)
        waiting = (self.window or most) * each + besides if on_cpu else 0
        pieces = fit_pieces(cost, height, width, budget, most, self.window, self.tile, waiting)
        side = pieces.tile or max(height, width)
        pixels = min(side, height) * min(side, width)
        again = (pieces.window / (pieces.window - pieces.window_overlap)) * (side / (side - pieces.tile_overlap)) ** 2
        size = cost.bytes(pieces.window, pixels) + (pieces.window * each + besides if on_cpu else 0)
        return pieces, size, cost.seconds * height * width * again

    def pieces(self, height: int, width: int, besides: int = 0) -> Pieces:
        """Windows and tiles for frames of a size; measures nothing where both are given, and no bound on the memory.

        Args:
            height: As in :meth:`plan`, like the others.
            width: Likewise.
            besides: Likewise.

        Raises:
            UserError: If not even the smallest pieces fit.
        """
        if self.window is None or self.tile is None or self.memory is not None:
            return self.plan(height, width, besides)[0]
        return given_pieces(self.window, self.tile, height, width)

    def __call__(
        self,
        frames: Iterable[Image],
        is_cut: Callable[[Image], bool] | None = None,
        pieces: Pieces | None = None,
        skip: int = 0,
    ) -> Iterator[Image]:
        """Enlarges a film.

        Args:
            frames: As in :func:`upscale`.
            is_cut: Likewise.
            pieces: Windows and tiles; None: :meth:`pieces`.
            skip: Frames at the beginning that are not wanted; the others come as they would if they were.

        Yields:
            As in :func:`upscale`.
        """
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            return
        if not isinstance(first, np.ndarray) or first.ndim != 3 or first.shape[2] != 3 or first.dtype not in _DTYPES:
            kind = f"{type(first).__name__} {tuple(getattr(first, 'shape', ()))} {getattr(first, 'dtype', '')}".strip()
            raise UserError(f"frames are {kind}; they must be NumPy arrays (height, width, RGB), uint8 or uint16")
        height, width = first.shape[:2]
        pieces = pieces or self.pieces(height, width)
        smaller = pieces
        given = 0
        for window in film_windows(_checked(first, frames), pieces, is_cut):
            begin, given = given, given + window.stop - window.start
            if given <= skip:
                continue
            enlarged, smaller = self._enlarge_window(window, smaller)
            for i in range(max(begin, skip) - begin, given - begin):
                yield enlarged[0, window.start + i].movedim(0, -1).contiguous().numpy()

    @torch.no_grad()
    def enlarge(self, lq: Tensor) -> Tensor:
        """One pass of the network in its precision, ``(B, T, 3, H, W)`` on its device."""
        with autocast(self.device, self.precision):
            enlarged: Tensor = self.network(lq)
        return enlarged

    def _enlarge_window(self, window: Window[Image], pieces: Pieces) -> tuple[Tensor, Pieces]:
        """Enlarges a window, in smaller pieces if the memory does not suffice; returns what did."""
        lq = _to_clip(window.frames)
        while True:
            try:
                return self._run(lq, pieces), pieces
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                halved = pieces.halved(*lq.shape[-2:])
                if halved is None:
                    elsewhere = ", or take --device cpu" if self.device.type == "cuda" else ""
                    raise UserError(
                        f"out of memory on {self.device} even with {pieces}: close other programs on it{elsewhere}"
                    ) from None
            # Outside of the handler, whose traceback holds the tensors of the failed pass.
            torch.cuda.empty_cache()
            _logger.warning("Out of memory with %s; going on with %s.", pieces, halved)
            pieces = halved

    def _run(self, lq: Tensor, pieces: Pieces) -> Tensor:
        return super_resolve(
            self.enlarge,
            lq,
            scale=self.scale,
            window=pieces.window,
            window_overlap=pieces.window_overlap,
            tile=pieces.tile,
            tile_overlap=pieces.tile_overlap,
            requirements=self._requirements,
            device=self.device,
        )


def film_windows(
    frames: Iterable[Image], pieces: Pieces, is_cut: Callable[[Image], bool] | None = None
) -> Iterator[Window[Image]]:
    """The windows in which a film is enlarged: none reaches across a cut.

    Args:
        frames: As in :func:`upscale`.
        pieces: Length and overlap of the windows.
        is_cut: As in :func:`upscale`.

    Yields:
        The windows; together they give every frame once, in order.
    """
    for scene in _scenes(frames, is_cut or SceneCuts()):
        yield from windows(scene, pieces.window, pieces.window_overlap)


def _to_clip(images: Sequence[Image]) -> Tensor:
    """Images ``(H, W, 3)``, uint8 or uint16 → a clip of them ``(1, T, 3, H, W)``."""
    return torch.from_numpy(np.stack(images)).movedim(-1, 1)[None]


def _scenes(frames: Iterable[Image], is_cut: Callable[[Image], bool]) -> Iterator[Iterator[Image]]:
    """Takes a film apart at its cuts; a scene must be taken to its end before the next is asked for."""
    frames = iter(frames)
    pending = [frame for frame in [next(frames, None)] if frame is not None]
    if pending:
        is_cut(pending[0])

    def scene() -> Iterator[Image]:
        yield pending.pop()
        for frame in frames:
            if is_cut(frame):
                pending.append(frame)
                return
            yield frame

    while pending:
        yield scene()


def _checked(first: Image, rest: Iterable[Image]) -> Iterator[Image]:
    yield first
    for i, frame in enumerate(rest, 1):
        if frame.shape != first.shape or frame.dtype != first.dtype:
            raise UserError(
                f"frame {i} is {frame.shape} {frame.dtype}, the first {first.shape} {first.dtype}; they must agree"
            )
        yield frame
