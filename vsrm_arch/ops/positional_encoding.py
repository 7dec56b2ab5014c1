"""Sinusoidal encoding of continuous 2-D positions."""

import math

import torch
from torch import Tensor

__all__ = ["frequencies", "sinusoidal_encoding"]


def sinusoidal_encoding(position: Tensor, dim: int, extent: float, base: float = 0.01) -> Tensor:
    """Encodes continuous 2-D positions by sines and cosines of rising frequency.

    Each coordinate ``p`` becomes the angle ``2π p / extent``, multiplied by ``base^(-2⌊k/2⌋ / (dim/2))`` for
    ``k < dim/2``; sine at even ``k``, cosine at odd ``k``. With ``base`` 0.01 the frequencies rise from 1 to almost
    100.

    Args:
        position: ``(..., 2)``, coordinates as (y, x), in pixels.
        dim: Number of channels; even.
        extent: The length in pixels that makes a full turn at the lowest frequency.
        base: The reciprocal of the highest frequency.

    Returns:
        ``(..., dim)``: the channels of y, then those of x; float32 at least.

    Raises:
        ValueError: If ``dim`` is odd.

    Source: VSRM section 4.3 (PE_R, PE_Q); the formula is the one of IART's published code.

    Example:
        >>> sinusoidal_encoding(torch.zeros(1, 2), dim=4, extent=5.0)
        tensor([[0., 1., 0., 1.]])
    """
    if dim % 2:
        raise ValueError(f"the positional encoding needs an even number of channels, not {dim}")
    k = torch.arange(dim // 2, device=position.device)
    angle = position.float().unsqueeze(-1) * frequencies(dim, extent, base, position.device)  # [..., 2, dim / 2]
    return torch.where(k % 2 == 0, angle.sin(), angle.cos()).flatten(-2)


def frequencies(dim: int, extent: float, base: float, device: torch.device) -> Tensor:
    """The angles a pixel of :func:`sinusoidal_encoding`, ``(dim / 2,)``, for each of the two coordinates."""
    k = torch.arange(dim // 2, device=device)
    return base ** (-2 * (k // 2) / (dim // 2)) * (2 * math.pi / (extent + 1e-6))
