"""Pictures that the paper compares networks by."""

from vsrm_arch.figures.erf import area_share, effective_receptive_field

__all__ = ["area_share", "effective_receptive_field"]
