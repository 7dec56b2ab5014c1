"""Wavelet-domain high-frequency loss (WHFL; after Kim and Cho, WACV 2023), which the paper compares with (Tab. 7)."""

import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from vsrm_arch.losses.spectrum import same_shape

__all__ = ["WaveletHighFrequencyLoss", "wavelet_high_frequency_loss"]


def wavelet_high_frequency_loss(pred: Tensor, target: Tensor, levels: int = 3) -> Tensor:
    """L1 distance of two images' details at several scales, the finest of which weighs most.

    ``Σ_{l = 1..levels} 2^(1 - l) · mean_{b ∈ {LH, HL, HH}} |W_{l,b}(pred) - W_{l,b}(target)|``, W the orthonormal Haar
    transform of every channel of every frame, each level that of the low frequencies of the one before. These, the
    last LL, are left to the loss in pixels. An odd side is continued by its last row or column.

    The idea, details at several scales weighted by their frequency, is the original's. Its weights vary within a band
    as well; here an octave has one, proportional to its frequency: they are our choice, and so are the wavelet and L1.

    Args:
        pred: ``(..., H, W)``.
        target: ``(..., H, W)``.
        levels: Scales; each halves the image.

    Returns:
        A scalar, float32 at least.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> wavelet_high_frequency_loss(torch.ones(1, 4, 4), torch.zeros(1, 4, 4))
        tensor(0.)
    """
    pred, target = same_shape(pred, target)
    # The transform is linear: one of the difference.
    low = pred - target
    loss = low.new_zeros(())
    for level in range(levels):
        low, *details = _haar(low)
        loss = loss + sum(detail.abs().mean() for detail in details) / 3 / 2**level
    return loss


def _haar(image: Tensor) -> tuple[Tensor, ...]:
    """One level of the orthonormal transform: LL, LH, HL and HH, ``(..., H, W)`` → ``(..., ⌈H/2⌉, ⌈W/2⌉)`` each."""
    height, width = image.shape[-2:]
    flat = image.reshape(1, -1, height, width)
    flat = F.pad(flat, (0, width % 2, 0, height % 2), mode="replicate")
    even = flat.reshape(*image.shape[:-2], *flat.shape[-2:])
    upper, lower = even[..., ::2, :], even[..., 1::2, :]
    low, high = upper + lower, upper - lower
    return tuple(sign(rows[..., ::2], rows[..., 1::2]) / 2 for rows in (low, high) for sign in (Tensor.add, Tensor.sub))


@LOSS_REGISTRY.register()
class WaveletHighFrequencyLoss(nn.Module):
    """:func:`wavelet_high_frequency_loss` as a BasicSR loss.

    Args:
        loss_weight: Weight of this loss.
        levels: Scales; each halves the image.

    Raises:
        ValueError: If ``levels`` is below 1.
    """

    def __init__(self, loss_weight: float = 1.0, levels: int = 3) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels is {levels}; it must be at least 1")
        self.loss_weight = loss_weight
        self.levels = levels

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """``(..., H, W)`` and ``(..., H, W)`` → a scalar."""
        return self.loss_weight * wavelet_high_frequency_loss(pred, target, self.levels)
