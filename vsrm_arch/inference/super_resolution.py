"""One pass of a network over a clip of any length and size."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vsrm_arch.errors import UserError
from vsrm_arch.inference.tiles import run_in_tiles
from vsrm_arch.inference.windows import run_in_windows
from vsrm_arch.sizes import SizeRequirements, pad_to

__all__ = ["super_resolve", "with_mirror"]

Network = Callable[[Tensor], Tensor]

_ANY_SIZE = SizeRequirements()


@torch.no_grad()
def super_resolve(
    network: Network,
    lq: Tensor,
    *,
    scale: int,
    window: int | None = None,
    window_overlap: int = 0,
    tile: int | None = None,
    tile_overlap: int = 0,
    requirements: SizeRequirements = _ANY_SIZE,
    device: torch.device | None = None,
) -> Tensor:
    """Enlarges a clip, in windows and tiles if it would not fit otherwise.

    Args:
        network: ``(B, T, 3, H, W) -> (B, T, 3, scale·H, scale·W)``.
        lq: ``(B, T, 3, H, W)``, RGB in [0, 1], on any device; or whole numbers over the range of their type, uint8 or
            uint16. Only the part that is being enlarged is moved to ``device``.
        scale: The network's enlargement.
        window: Frames in one pass; None: all.
        window_overlap: Frames that neighbouring windows share.
        tile: Side of a tile in LR pixels; None: whole frames.
        tile_overlap: LR pixels over which neighbouring tiles are cross-faded.
        requirements: Frame sizes that the network takes; what does not fit is padded, and the output is cropped.
        device: Where the network is; None: where ``lq`` is.

    Returns:
        ``(B, T, 3, scale·H, scale·W)`` on the CPU: float32, not clipped; or of the type of ``lq``, rounded and clipped.

    Raises:
        UserError: If ``lq`` is no clip, an overlap does not fit its window or tile, or the output has another size.

    Example:
        >>> double = torch.nn.Upsample(scale_factor=(1, 2, 2))
        >>> super_resolve(double, torch.rand(1, 5, 3, 8, 9), scale=2, window=3, tile=6, tile_overlap=2).shape
        torch.Size([1, 5, 3, 16, 18])
    """
    if lq.ndim != 5:
        raise UserError(f"lq is {tuple(lq.shape)}; it must be a clip (batch, frames, RGB, height, width): try lq[None]")
    one_pass = partial(_one_pass, network, scale=scale, requirements=requirements, device=device or lq.device)

    def enlarge(part: Tensor) -> Tensor:
        if tile is None:
            whole = one_pass(part)
        else:
            whole = run_in_tiles(lambda lq: one_pass(lq).cpu().float(), part, scale, tile, tile_overlap)
        return _as_type(whole, lq.dtype).cpu()

    if window is not None:
        return run_in_windows(enlarge, lq, window, window_overlap)
    return enlarge(lq)


def with_mirror(network: Network) -> Network:
    """A network that sees each clip followed by its mirror in time, and averages the two outputs of each frame."""

    def mirrored(lq: Tensor) -> Tensor:
        num_frames = lq.shape[1]
        output = network(torch.cat([lq, lq.flip(1)], dim=1))
        return 0.5 * (output[:, :num_frames] + output[:, num_frames:].flip(1))

    return mirrored


def _one_pass(
    network: Network, lq: Tensor, *, scale: int, requirements: SizeRequirements, device: torch.device
) -> Tensor:
    *leading, height, width = lq.shape
    padded = pad_to(_as_float(lq.to(device)), requirements)
    output = network(padded)
    expected = (*leading, padded.shape[-2] * scale, padded.shape[-1] * scale)
    if output.shape != expected:
        raise UserError(
            f"the network turns a clip {tuple(padded.shape)} into {tuple(output.shape)}, but with scale {scale} it "
            f"must give {expected}: set scale to the network's enlargement"
        )
    return output[..., : height * scale, : width * scale]


def _as_float(frames: Tensor) -> Tensor:
    """Whole numbers → [0, 1]."""
    return frames if frames.is_floating_point() else frames.float() / torch.iinfo(frames.dtype).max


def _as_type(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """[0, 1] → float32, or whole numbers of a type, which lie channels last in memory, as pictures do."""
    if dtype.is_floating_point:
        return frames.float()
    most = torch.iinfo(dtype).max
    B, T, C, H, W = frames.shape
    converted = torch.empty((B, T, H, W, C), dtype=dtype, device=frames.device)
    for i in range(T):  # a frame at a time: no second clip in float32 is held
        converted[:, i] = (frames[:, i].float() * most).round_().clamp_(0, most).movedim(1, -1)
    return converted.movedim(-1, 2)
