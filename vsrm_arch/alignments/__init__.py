"""Alignments, interchangeable.

Each is ``align(reference, target, flow) -> aligned``, all ``(B, C, H, W)``, the flow target → reference.
"""

from vsrm_arch.alignments.dca import DCA
from vsrm_arch.alignments.guided_deformable_attention import GuidedDeformableAttention
from vsrm_arch.alignments.no_alignment import NoAlignment

__all__ = ["DCA", "GuidedDeformableAttention", "NoAlignment"]
