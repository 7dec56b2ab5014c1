"""VSRM for BasicSR: importing this package registers every part with BasicSR.

The parts are their modules: ``archs`` (networks), ``alignments``, ``losses``, ``metrics``, ``data`` (data sets),
``models``, and below them ``propagation``, ``layers`` and ``ops``.
"""

from vsrm_arch import compat  # noqa: F401, I001  (first: it mends BasicSR before anything imports it)
from vsrm_arch import alignments, archs, data, losses, metrics, models  # noqa: F401

__all__ = ["__version__"]

__version__ = "0.1.0"
