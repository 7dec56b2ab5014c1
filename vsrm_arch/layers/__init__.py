"""The parts that networks are built of."""

from vsrm_arch.layers.attention import FullAttention, WindowAttention
from vsrm_arch.layers.blocks import DAMB, Backbone, BlockDesign, MambaBlock
from vsrm_arch.layers.checkpoint import checkpoint
from vsrm_arch.layers.depthwise import DepthwiseMixer
from vsrm_arch.layers.ffn import FFN
from vsrm_arch.layers.flow import build_spynet, estimate_flow
from vsrm_arch.layers.mamba import S2TMamba, T2SMamba
from vsrm_arch.layers.swin import SwinBackbone, SwinBlock, SwinGroup
from vsrm_arch.layers.tgfn import TGFN
from vsrm_arch.layers.upsampler import Upsampler

__all__ = [
    "DAMB",
    "FFN",
    "TGFN",
    "Backbone",
    "BlockDesign",
    "DepthwiseMixer",
    "FullAttention",
    "MambaBlock",
    "S2TMamba",
    "SwinBackbone",
    "SwinBlock",
    "SwinGroup",
    "T2SMamba",
    "Upsampler",
    "WindowAttention",
    "build_spynet",
    "checkpoint",
    "estimate_flow",
]
