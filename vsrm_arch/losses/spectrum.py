"""What the losses of two images, and those in frequencies among them, have in common."""

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Norm", "mean_over_spectrum", "same_shape"]

Norm = Literal["backward", "ortho", "forward"]


def same_shape(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The two images of a loss, in float32 at least.

    Args:
        pred: ``(..., H, W)``.
        target: ``(..., H, W)``.

    Returns:
        Both, ``(..., H, W)``.

    Raises:
        ValueError: If the shapes differ.
    """
    if pred.shape != target.shape:
        raise ValueError(f"pred is {tuple(pred.shape)} and target is {tuple(target.shape)}; they must have one shape")
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    return pred.to(dtype), target.to(dtype)


def mean_over_spectrum(values: Tensor, width: int) -> Tensor:
    """The mean over a whole spectrum of what is the same at opposite frequencies, from the half that ``rfft2`` gives.

    A real image's spectrum is symmetric: half of its columns hold it all, and each of them but the first (and for an
    even width the last) counts twice.

    Args:
        values: ``(..., H, W // 2 + 1)``.
        width: W.

    Returns:
        A scalar.
    """
    counts = torch.full((values.shape[-1],), 2.0, dtype=values.dtype, device=values.device)
    counts[0] = 1.0
    if width % 2 == 0:
        counts[-1] = 1.0
    return (values * counts).sum(-1).mean() / width
