"""Alignments, interchangeable.

Each is ``align(reference, target, flow) -> aligned``, all ``(B, C, H, W)``, the flow target → reference.
"""

from vsrm_arch.alignments.dca import DCA

__all__ = ["DCA"]
