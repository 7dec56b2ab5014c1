"""Metrics, registered in BasicSR's METRIC_REGISTRY beside its PSNR and SSIM."""

from vsrm_arch.metrics.lpips import calculate_lpips
from vsrm_arch.metrics.warping_error import calculate_warping_error

__all__ = ["calculate_lpips", "calculate_warping_error"]
