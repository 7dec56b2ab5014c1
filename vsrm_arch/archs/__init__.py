"""Networks, registered in BasicSR's ARCH_REGISTRY."""

from vsrm_arch.archs.bicubic_arch import Bicubic
from vsrm_arch.archs.vsrm_arch import VSRM

__all__ = ["VSRM", "Bicubic"]
