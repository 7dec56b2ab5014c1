"""Losses, registered in BasicSR's LOSS_REGISTRY."""

from vsrm_arch.losses.frequency_charbonnier_loss import FrequencyCharbonnierLoss, frequency_charbonnier_loss

__all__ = ["FrequencyCharbonnierLoss", "frequency_charbonnier_loss"]
