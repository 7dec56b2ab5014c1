"""Frequency Charbonnier-like loss (FCL; eq. 13 and 14)."""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from vsrm_arch.losses.spectrum import Norm, mean_over_spectrum, same_shape

__all__ = ["FrequencyCharbonnierLoss", "frequency_charbonnier_loss"]


def frequency_charbonnier_loss(
    pred: Tensor,
    target: Tensor,
    real_weight: float = 0.02,
    imag_weight: float = 0.02,
    eps: float = 1e-3,
    norm: Norm = "backward",
) -> Tensor:
    """Charbonnier distance of two images' spectra, for the real and the imaginary parts (eq. 14).

    ``Σ_{i ∈ {Re, Im}} λ_i · mean sqrt((i F(pred) - i F(target))² + ε²)``, F the 2-D FFT of every channel of every
    frame. Epsilon is squared here, as in the paper; in BasicSR's CharbonnierLoss it is not.

    Args:
        pred: ``(..., H, W)``.
        target: ``(..., H, W)``.
        real_weight: λ_Re.
        imag_weight: λ_Im.
        eps: ε.
        norm: Normalisation of the FFT: "backward" is none (eq. 13), "ortho" divides by sqrt(HW), "forward" by HW.

    Returns:
        A scalar, float32 at least.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> frequency_charbonnier_loss(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), eps=0.5)
        tensor(0.0200)
    """
    pred, target = same_shape(pred, target)
    # F is linear: one transform of the difference.
    spectrum = torch.fft.rfft2(pred - target, norm=norm)
    parts = real_weight * _charbonnier(spectrum.real, eps) + imag_weight * _charbonnier(spectrum.imag, eps)
    return mean_over_spectrum(parts, pred.shape[-1])


def _charbonnier(difference: Tensor, eps: float) -> Tensor:
    return (difference.square() + eps**2).sqrt()


@LOSS_REGISTRY.register()
class FrequencyCharbonnierLoss(nn.Module):
    """:func:`frequency_charbonnier_loss` as a BasicSR loss.

    Args:
        real_weight: λ_Re.
        imag_weight: λ_Im.
        eps: ε; squared in the formula.
        norm: Normalisation of the FFT: "backward" (none, the paper's eq. 13), "ortho" or "forward".
    """

    def __init__(
        self, real_weight: float = 0.02, imag_weight: float = 0.02, eps: float = 1e-3, norm: Norm = "backward"
    ) -> None:
        super().__init__()
        self.real_weight = real_weight
        self.imag_weight = imag_weight
        self.eps = eps
        self.norm: Norm = norm

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """``(..., H, W)`` and ``(..., H, W)`` → a scalar."""
        return frequency_charbonnier_loss(pred, target, self.real_weight, self.imag_weight, self.eps, self.norm)
