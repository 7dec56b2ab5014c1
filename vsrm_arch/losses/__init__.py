"""Losses, registered in BasicSR's LOSS_REGISTRY: the paper's, and those that it compares with (Tab. 7)."""

from vsrm_arch.losses.focal_frequency_loss import FocalFrequencyLoss, focal_frequency_loss
from vsrm_arch.losses.fourier_space_loss import FourierSpaceLoss, fourier_space_loss
from vsrm_arch.losses.frequency_charbonnier_loss import FrequencyCharbonnierLoss, frequency_charbonnier_loss
from vsrm_arch.losses.wavelet_high_frequency_loss import WaveletHighFrequencyLoss, wavelet_high_frequency_loss

__all__ = [
    "FocalFrequencyLoss",
    "FourierSpaceLoss",
    "FrequencyCharbonnierLoss",
    "WaveletHighFrequencyLoss",
    "focal_frequency_loss",
    "fourier_space_loss",
    "frequency_charbonnier_loss",
    "wavelet_high_frequency_loss",
]
