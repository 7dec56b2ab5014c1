"""Fourier space loss (FSL; Fuoli et al., ICCV 2021), which the paper compares with its own (Tab. 7)."""

import math

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from vsrm_arch.losses.spectrum import Norm, same_shape

__all__ = ["FourierSpaceLoss", "fourier_space_loss"]


def fourier_space_loss(pred: Tensor, target: Tensor, norm: Norm = "backward") -> Tensor:
    """L1 distances of two images' amplitudes and phases, half of each: the supervised part of the original's losses.

    ``½ mean | |F(pred)| - |F(target)| | + ½ mean |∠F(pred) - ∠F(target)|``, F the 2-D FFT of every channel of every
    frame after a Hann window, the means over one half of the symmetric spectrum. The difference of two angles is taken
    the shorter way round: at the frequencies whose spectrum is real, rounding decides between -π and π.

    Args:
        pred: ``(..., H, W)``.
        target: ``(..., H, W)``.
        norm: Normalisation of the FFT: "backward" is none, "ortho" divides by sqrt(HW), "forward" by HW; the phases do
            not depend on it.

    Returns:
        A scalar, float32 at least.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> image = torch.rand(1, 4, 4)
        >>> fourier_space_loss(image, image)
        tensor(0.)
    """
    pred, target = same_shape(pred, target)
    amplitude, phase = _polar(pred, norm)
    target_amplitude, target_phase = _polar(target, norm)
    turn = (phase - target_phase).abs()
    turn = torch.minimum(turn, 2 * math.pi - turn)
    return ((amplitude - target_amplitude).abs().mean() + turn.mean()) / 2


def _polar(image: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """Amplitudes and phases of half of the windowed spectrum, ``(..., H, (W + 1) // 2)`` each."""
    height, width = image.shape[-2:]
    rows, columns = (torch.hann_window(side, dtype=image.dtype, device=image.device) for side in (height, width))
    spectrum = torch.fft.rfft2(image * rows.unsqueeze(-1) * columns, norm=norm)[..., : (width + 1) // 2]
    amplitude = spectrum.abs()
    # The gradient of an angle divides by the squared amplitude: where that vanishes, there is no phase.
    has_phase = amplitude.square() > torch.finfo(amplitude.dtype).tiny
    return amplitude, torch.where(has_phase, spectrum, 0).angle()


@LOSS_REGISTRY.register()
class FourierSpaceLoss(nn.Module):
    """:func:`fourier_space_loss` as a BasicSR loss.

    Args:
        loss_weight: Weight of this loss.
        norm: Normalisation of the FFT: "backward" (none), "ortho" or "forward".
    """

    def __init__(self, loss_weight: float = 1.0, norm: Norm = "backward") -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.norm: Norm = norm

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """``(..., H, W)`` and ``(..., H, W)`` → a scalar."""
        return self.loss_weight * fourier_space_loss(pred, target, self.norm)
