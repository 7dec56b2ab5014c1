"""Alignments, interchangeable.

Each is ``align(reference, target, flow) -> aligned``, all ``(B, C, H, W)``, the flow target → reference.
"""

from vsrm_arch.alignments.dca import DCA
from vsrm_arch.alignments.guided_deformable_attention import GuidedDeformableAttention
from vsrm_arch.alignments.implicit import ImplicitAlignment
from vsrm_arch.alignments.no_alignment import NoAlignment
from vsrm_arch.alignments.patch import PatchAlignment

__all__ = ["DCA", "GuidedDeformableAttention", "ImplicitAlignment", "NoAlignment", "PatchAlignment"]
