"""Stopping a training whose losses or gradients are no longer numbers, before they reach the weights."""

import math
from collections.abc import Mapping, Sequence

import torch
from basicsr.utils.dist_util import get_dist_info
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from vsrm_arch.errors import UserError

__all__ = ["stop_if_not_finite"]

# fp16 starts at 65536 and halves the scale at each overflow; below this, overflows are not the scale's fault.
_SMALLEST_SCALE = 1.0


def stop_if_not_finite(
    means: Mapping[str, float],
    losses: Mapping[str, Tensor],
    keys: Sequence[str],
    iteration: int,
    scaler: GradScaler,
) -> None:
    """Raises if a loss or the gradient's norm is NaN or infinite.

    Args:
        means: Loss or ``grad_norm`` → mean over all ranks; the same on every rank, so that all of them raise.
        losses: The losses of this rank.
        keys: The clips of this rank's batch.
        iteration: The iteration.
        scaler: With fp16 an infinite gradient is normal: the scaler skips the step and lowers its scale.

    Raises:
        UserError: Naming the iteration, the losses and the clips of the ranks that gave them.
    """
    bad = [name for name, mean in means.items() if not math.isfinite(mean)]
    if bad == ["grad_norm"] and scaler.is_enabled() and scaler.get_scale() >= _SMALLEST_SCALE:
        return
    if not bad:
        return
    ours = any(not math.isfinite(losses[name]) for name in bad if name in losses) or bad == ["grad_norm"]
    clips = _of_all_ranks(list(keys) if ours else [])
    values = ", ".join(f"{name} is {means[name]}" for name in bad)
    raise UserError(
        f"iteration {iteration}: {values}, clips {', '.join(clips) or 'without names'}; the weights have not been "
        "changed and all checkpoints are intact: look at these clips, lower train.optim_g.lr or set train.grad_clip "
        "(fp16: use amp: bf16), then go on with --auto_resume"
    )


def _of_all_ranks(names: list[str]) -> list[str]:
    _, world_size = get_dist_info()
    if world_size == 1:
        return names
    gathered: list[list[str]] = [[] for _ in range(world_size)]
    torch.distributed.all_gather_object(gathered, names)
    return [name for part in gathered for name in part]
