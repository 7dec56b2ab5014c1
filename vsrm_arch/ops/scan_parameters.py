"""What a selective scan takes from its own input."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrm_arch.ops.exporting import without_autocast
from vsrm_arch.ops.matrices import working_dtype

__all__ = ["scan_parameters"]


def scan_parameters(u: Tensor, x_weight: Tensor, dt_weight: Tensor) -> tuple[Tensor, Tensor]:
    """The selection of a scan's parameters by its input (eq. 3): ``[dt, rows] = W_x u``, ``delta = W_dt dt``.

    Args:
        u: ``(..., E)``, or ``(2, ..., E)`` of two directions with a W_dt each.
        x_weight: W_x, ``(R + S, E)``.
        dt_weight: W_dt, ``(E, R)``, or ``(2, E, R)``.

    Returns:
        delta, ``(..., E)``, before its bias and softplus, and the rows, ``(..., S)``: B and C of a mixer.
    """
    return (_multiplied_out if u.is_cuda else _one_after_the_other)(u, x_weight, dt_weight)


def _one_after_the_other(u: Tensor, x_weight: Tensor, dt_weight: Tensor) -> tuple[Tensor, Tensor]:
    projected, rank = F.linear(u, x_weight), dt_weight.shape[-1]
    dt, rows = torch.split(projected, [rank, len(x_weight) - rank], dim=-1)
    if dt_weight.dim() == 2:
        return F.linear(dt, dt_weight), rows
    return torch.stack([F.linear(part, weight) for part, weight in zip(dt, dt_weight, strict=True)]), rows


def _multiplied_out(u: Tensor, x_weight: Tensor, dt_weight: Tensor) -> tuple[Tensor, Tensor]:
    """More arithmetic, but one product of even sizes in place of two that stride through memory."""
    channels, rank = dt_weight.shape[-2:]
    with without_autocast(u.device.type):
        rows = x_weight[rank:].expand(*dt_weight.shape[:-2], -1, -1)
        weight = torch.cat((dt_weight @ x_weight[:rank], rows), dim=-2)
    if dt_weight.dim() == 2:
        projected = F.linear(u, weight)
    else:
        projected = torch.bmm(u.flatten(1, -2), weight.to(working_dtype(u)).mT).unflatten(1, u.shape[1:-1])
    delta, rows = torch.split(projected, [channels, len(x_weight) - rank], dim=-1)
    return delta, rows
