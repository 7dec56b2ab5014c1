"""Pictures that compare networks and trainings."""

from vsrm_arch.figures.crops import Region, most_different, region_psnr
from vsrm_arch.figures.curves import Curve, read_curves, smoothed
from vsrm_arch.figures.erf import area_share, effective_receptive_field
from vsrm_arch.figures.renditions import Rendition
from vsrm_arch.figures.temporal_profile import temporal_profile

__all__ = [
    "Curve",
    "Region",
    "Rendition",
    "area_share",
    "effective_receptive_field",
    "most_different",
    "read_curves",
    "region_psnr",
    "smoothed",
    "temporal_profile",
]
