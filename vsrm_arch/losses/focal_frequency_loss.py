"""Focal frequency loss (FFL; Jiang, Dai, Wu and Loy, ICCV 2021), which the paper compares with its own (Tab. 7)."""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from vsrm_arch.losses.spectrum import mean_over_spectrum, same_shape

__all__ = ["FocalFrequencyLoss", "focal_frequency_loss"]


def focal_frequency_loss(pred: Tensor, target: Tensor, alpha: float = 1.0) -> Tensor:
    """Squared distance of two images' spectra, in which the frequencies that fit worst weigh most.

    ``mean_{u,v} w(u, v) |F(pred) - F(target)|²`` with ``w = |F(pred) - F(target)|^α``, divided by its maximum over the
    spectrum and constant in the gradient. F is the orthonormal 2-D FFT of every channel of every frame.

    Args:
        pred: ``(..., H, W)``.
        target: ``(..., H, W)``.
        alpha: α, how much the weights differ; 0: not at all.

    Returns:
        A scalar, float32 at least.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> focal_frequency_loss(torch.ones(1, 4, 4), torch.zeros(1, 4, 4))
        tensor(1.)
    """
    pred, target = same_shape(pred, target)
    spectrum = torch.fft.rfft2(pred - target, norm="ortho")
    squared = spectrum.real.square() + spectrum.imag.square()
    weight = squared.detach() ** (alpha / 2)
    largest = weight.amax((-2, -1), keepdim=True)
    # Where nothing differs, no weight is asked for.
    weight = weight / torch.where(largest > 0, largest, 1)
    return mean_over_spectrum(weight * squared, pred.shape[-1])


@LOSS_REGISTRY.register()
class FocalFrequencyLoss(nn.Module):
    """:func:`focal_frequency_loss` as a BasicSR loss.

    Args:
        loss_weight: Weight of this loss.
        alpha: α, how much the frequencies' weights differ; 0: not at all.
    """

    def __init__(self, loss_weight: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.alpha = alpha

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """``(..., H, W)`` and ``(..., H, W)`` → a scalar."""
        return self.loss_weight * focal_frequency_loss(pred, target, self.alpha)
