"""Networks, registered in BasicSR's ARCH_REGISTRY."""

from vsrm_arch.archs.bicubic_arch import Bicubic
from vsrm_arch.archs.clip_edvr_arch import ClipEDVR
from vsrm_arch.archs.iart_arch import IART
from vsrm_arch.archs.psrt_recurrent_arch import BasicRecurrentSwin
from vsrm_arch.archs.vsrm_arch import VSRM

__all__ = ["IART", "VSRM", "BasicRecurrentSwin", "Bicubic", "ClipEDVR"]
