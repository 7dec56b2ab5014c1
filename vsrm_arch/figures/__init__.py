"""Pictures that compare networks and trainings."""

from vsrm_arch.figures.curves import Curve, read_curves, smoothed
from vsrm_arch.figures.erf import area_share, effective_receptive_field

__all__ = ["Curve", "area_share", "effective_receptive_field", "read_curves", "smoothed"]
