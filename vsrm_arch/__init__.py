"""VSRM for BasicSR: importing this package registers every part with BasicSR."""

from vsrm_arch import compat  # noqa: F401  (first: it mends BasicSR before anything imports it)

__version__ = "0.1.0"
