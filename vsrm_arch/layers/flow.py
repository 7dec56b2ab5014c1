"""Optical flow between neighbouring frames, by BasicSR's SpyNet."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from basicsr.archs.spynet_arch import SpyNet
from torch import Tensor, nn

from vsrm_arch.errors import UserError, first_line
from vsrm_arch.ops.exporting import without_autocast
from vsrm_arch.sizes import SizeRequirements, pad_to
from vsrm_arch.weights import fit

__all__ = ["build_spynet", "estimate_flow"]

_logger = logging.getLogger("basicsr.vsrm_arch")

# SpyNet halves the frame five times after rounding its sides up to multiples of 32, and fails on sides that become 32.
_SPYNET_SIZES = SizeRequirements(minimum=64)

# SpyNet's widest layer holds 64 channels: this many pixels a call keep it near 256 MiB in float32, however long the
# clip.
_PIXELS_PER_CALL = 2**20


def build_spynet(path: str | None) -> SpyNet:
    """Builds SpyNet, pre-trained if a path is given.

    Without weights the last layer of every level starts at zero, so that the flow starts at zero, not at noise.

    Args:
        path: Weights as BasicSR publishes them (``spynet_sintel_final-3d2a1287.pth``), or None.

    Raises:
        UserError: If the file is missing or is not such a checkpoint.
    """
    if path is None:
        _logger.warning(
            "spynet_path is not set: the optical flow starts at zero. Fine for resuming, testing and demos."
        )
        spynet = SpyNet()
        for level in spynet.basic_module:
            nn.init.zeros_(level.basic_module[-1].weight)
            nn.init.zeros_(level.basic_module[-1].bias)
        return spynet
    if not Path(path).is_file():
        raise UserError(
            f"spynet_path: no file {path}; the README's section on flow weights says where to get it"
            " (or set spynet_path to null to start without)"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive fails in many ways
        raise UserError(f"{_no_spynet(path)} it is no checkpoint, or a damaged one ({first_line(error)})") from error
    weights = content.get("params") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{_no_spynet(path)} it has no dict of tensors named params")
    spynet = SpyNet()
    # The normalisation's mean and std are constants of the class; some published files leave them out.
    constants = {key: value for key, value in spynet.state_dict().items() if key in ("mean", "std")}
    weights = {**constants, **weights}
    _, faults = fit(spynet, weights)
    if faults:
        raise UserError(f"{_no_spynet(path)} {'; '.join(faults)}")
    spynet.load_state_dict(weights)
    return spynet


def _no_spynet(path: str) -> str:
    """Begins a message, which goes on with the fault."""
    return (
        f"spynet_path: {path} holds no SpyNet weights in BasicSR's layout (the README's section on flow weights says "
        "where to get them):"
    )


def estimate_flow(spynet: nn.Module | None, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Estimates the flow between neighbouring frames in both directions.

    Runs in float32 under autocast as well: a position of some hundred pixels has no sub-pixel digits in bfloat16.

    Args:
        spynet: The flow network; None: no motion.
        frames: ``(B, T, 3, H, W)``, RGB in [0, 1], any size.

    Returns:
        ``(forward, backward)``, each ``(B, T - 1, 2, H, W)``, in pixels, channel 0 = x, channel 1 = y.
        ``forward[:, i]`` leads from frame ``i + 1`` to frame ``i`` (used by forward propagation: target → reference),
        ``backward[:, i]`` from frame ``i`` to frame ``i + 1``.
    """
    B, T, _, H, W = frames.shape
    if T == 1 or spynet is None:
        still = frames.new_zeros(B, T - 1, 2, H, W, dtype=torch.float32)
        return still, still
    padded = pad_to(frames.float(), _SPYNET_SIZES)
    earlier, later = padded[:, :-1].flatten(0, 1), padded[:, 1:].flatten(0, 1)
    pairs = max(1, _PIXELS_PER_CALL // (padded.shape[-1] * padded.shape[-2]))

    def flow(targets: Tensor, references: Tensor) -> Tensor:
        parts = [spynet(t, r) for t, r in zip(targets.split(pairs), references.split(pairs), strict=True)]
        return torch.cat(parts)[..., :H, :W].reshape(B, T - 1, 2, H, W)

    with without_autocast(frames.device.type):
        return flow(later, earlier), flow(earlier, later)
