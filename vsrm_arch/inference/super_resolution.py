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
        lq: ``(B, T, 3, H, W)``, RGB in [0, 1], on any device. Only the part that is being enlarged is moved to
            ``device``.
        scale: The network's enlargement.
        window: Frames in one pass; None: all.
        window_overlap: Frames that neighbouring windows share.
        tile: Side of a tile in LR pixels; None: whole frames.
        tile_overlap: LR pixels over which neighbouring tiles are cross-faded.
        requirements: Frame sizes that the network takes; what does not fit is padded, and the output is cropped.
        device: Where the network is; None: where ``lq`` is.

    Returns:
        ``(B, T, 3, scale·H, scale·W)`` float32 on the CPU, not clipped.

    Raises:
        UserError: If an overlap does not fit its window or tile, or the network's output has another size.

    Example:
        >>> double = torch.nn.Upsample(scale_factor=(1, 2, 2))
        >>> super_resolve(double, torch.rand(1, 5, 3, 8, 9), scale=2, window=3, tile=6, tile_overlap=2).shape
        torch.Size([1, 5, 3, 16, 18])
    """
    enlarge: Network = partial(_one_pass, network, scale=scale, requirements=requirements, device=device or lq.device)
    if tile is not None:
        enlarge = partial(run_in_tiles, enlarge, scale=scale, size=tile, overlap=tile_overlap)
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
    padded = pad_to(lq.to(device), requirements)
    output = network(padded)
    expected = (*leading, padded.shape[-2] * scale, padded.shape[-1] * scale)
    if output.shape != expected:
        raise UserError(
            f"the network turns a clip {tuple(padded.shape)} into {tuple(output.shape)}, but with scale {scale} it "
            f"must give {expected}: set scale to the network's enlargement"
        )
    return output[..., : height * scale, : width * scale].float().cpu()
