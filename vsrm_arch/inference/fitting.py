"""Windows and tiles that fit into the memory there is."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from vsrm_arch.errors import UserError
from vsrm_arch.inference.memory import peak_memory
from vsrm_arch.sizes import SizeRequirements

__all__ = ["MOST_FRAMES", "Cost", "Pieces", "fit_pieces", "given_pieces", "measure_cost"]

# Longer windows cost memory; with the demonstration weights none was seen to gain.
MOST_FRAMES = 32
_WINDOWS = (MOST_FRAMES, 24, 16, 12, 8)
# A third of a window or a tile at most is context.
_WINDOW_OVERLAP, _TILE_OVERLAP = 6, 16
_SMALLEST_TILE = 48
# What allocators, libraries and CUDA graphs take beyond what is measured.
_MARGIN = 1.4


@dataclass(frozen=True)
class Pieces:
    """The parts in which a film is enlarged.

    Attributes:
        window: Frames in one pass.
        window_overlap: Frames that neighbouring windows share.
        tile: Side of a tile in pixels of the input; None: whole frames.
        tile_overlap: Pixels that neighbouring tiles share.
    """

    window: int = MOST_FRAMES
    window_overlap: int = _WINDOW_OVERLAP
    tile: int | None = None
    tile_overlap: int = 0

    def halved(self, height: int, width: int) -> "Pieces | None":
        """Smaller pieces: half the tile, or half the window where tiles are small already; None at the end."""
        side = self.tile or max(height, width)
        if side >= 2 * _SMALLEST_TILE:
            return _with_tile(self.window, -(-side // 2) + _TILE_OVERLAP // 2)
        if self.window >= 2 * _WINDOWS[-1]:
            return Pieces(self.window // 2, _overlap(self.window // 2), self.tile, self.tile_overlap)
        return None

    def __str__(self) -> str:
        tiles = "whole frames" if self.tile is None else f"tiles of {self.tile}x{self.tile}"
        return f"windows of {self.window} frames, {tiles}"


def _with_tile(window: int, tile: int) -> Pieces:
    return Pieces(window, _overlap(window), tile, min(_TILE_OVERLAP, tile // 3))


def _overlap(window: int) -> int:
    return min(_WINDOW_OVERLAP, window // 3)


@dataclass(frozen=True)
class Cost:
    """What a pass of a network takes: memory ``fixed + pixels · (each + frames · kept)``, and time.

    Attributes:
        fixed: Bytes whatever the clip.
        each: Bytes a pixel of a frame of the input, whatever the number of frames.
        kept: Bytes a pixel of every frame.
        seconds: A pixel of a frame.
    """

    fixed: float
    each: float
    kept: float
    seconds: float

    def bytes(self, num_frames: int, pixels: int) -> int:
        """Memory for a pass over ``num_frames`` frames of so many pixels of the input."""
        return round(_MARGIN * (self.fixed + pixels * (self.each + num_frames * self.kept)))


def measure_cost(enlarge: Callable[[Tensor], Tensor], device: torch.device, requirements: SizeRequirements) -> Cost:
    """Runs a network on small clips of noise.

    Args:
        enlarge: ``(B, T, 3, H, W)`` on the device → the enlarged clip.
        device: Where the network is.
        requirements: Frame sizes that it takes.

    Returns:
        Its cost.
    """
    on_gpu = device.type == "cuda"
    # Beyond the size up to which steps run as CUDA graphs, whose memory is another matter, and small.
    small = requirements.padded(288 if on_gpu else 24)
    large = requirements.padded(384 if on_gpu else 48)
    large = max(large, requirements.padded(small + 1))

    def run(num_frames: int, side: int) -> tuple[int, float]:
        clip = torch.rand(1, num_frames, 3, side, side, device=device)
        if on_gpu:  # the first time kernels are compiled and chosen
            enlarge(clip)
        begin = perf_counter()
        with peak_memory(device) as peak:  # which waits for the device
            enlarge(clip)
        return peak.bytes, perf_counter() - begin

    (few, _), (more, _), (bigger, seconds) = run(3, small), run(5, small), run(3, large)
    kept = max(more - few, 0) / (2 * small**2)
    slope = max(bigger - few, 0) / (large**2 - small**2)
    if not on_gpu:  # without the counting, which takes longer than small operations
        clip = torch.rand(1, 3, 3, large, large)
        begin = perf_counter()
        enlarge(clip)
        seconds = perf_counter() - begin
    seconds /= 3 * large**2
    return Cost(max(few - slope * small**2, 0.0), max(slope - 3 * kept, 0.0), kept, seconds)


def fit_pieces(
    cost: Cost,
    height: int,
    width: int,
    budget: int,
    most_frames: int = MOST_FRAMES,
    window: int | None = None,
    tile: int | None = None,
    held: int = 0,
) -> Pieces:
    """Chooses the largest pieces that fit: long windows of whole frames, shorter ones, then tiles.

    Args:
        cost: Of the network.
        height: Of a frame of the input.
        width: Likewise.
        budget: Bytes.
        most_frames: The longest window that is tried.
        window: Frames in one pass, where the user says so.
        tile: Side of a tile, likewise; 0: whole frames.
        held: Bytes of the budget that are taken already.

    Returns:
        The pieces.

    Raises:
        UserError: If not even the smallest fit.
    """
    windows = [window] if window else sorted({min(frames, most_frames) for frames in _WINDOWS}, reverse=True)
    side = max(height, width)
    sides = [tile or side] if tile is not None else _sides(side)
    for candidate in sides:
        for frames in windows:
            pixels = min(candidate, height) * min(candidate, width)
            if cost.bytes(frames, pixels) + held <= budget:
                return given_pieces(frames, candidate, height, width)
    least = cost.bytes(windows[-1], min(sides[-1], height) * min(sides[-1], width))
    raise UserError(
        f"{_gib(least + held)} of memory are needed even in the smallest pieces, and {_gib(budget)} may be used: close "
        "other programs, or give more with --memory"
    )


def given_pieces(window: int, tile: int, height: int, width: int) -> Pieces:
    """Pieces of given sizes, with their overlaps.

    Args:
        window: Frames in one pass.
        tile: Side of a tile; 0, or no less than the frame's longer side: whole frames.
        height: Of a frame of the input.
        width: Likewise.

    Returns:
        The pieces.
    """
    whole = not tile or tile >= max(height, width)
    return Pieces(window, _overlap(window)) if whole else _with_tile(window, tile)


def _sides(side: int) -> list[int]:
    """Sides of tiles that cover a frame in 1, 2, 3, … parts along its longer side."""
    sides = [side]
    for parts in range(2, side):
        tile = -(-(side + (parts - 1) * _TILE_OVERLAP) // parts)
        if tile < _SMALLEST_TILE:
            break
        sides.append(tile)
    return sides


def _gib(size: int) -> str:
    gib = size / 2**30
    return f"{gib:.0f} GiB" if gib >= 10 else f"{gib:.2g} GiB"
