"""Frame sizes that networks accept, those of stock networks included, which declare none."""

from torch import nn

from vsrm_arch.sizes import SizeRequirements

__all__ = ["size_requirements"]

# SpyNet halves a frame five times and needs two pixels at the end; BasicVSR++ asserts as much itself.
_STOCK_NETWORKS = {
    "BasicVSR": SizeRequirements(minimum=64),
    "BasicVSRPlusPlus": SizeRequirements(minimum=64),
    "IconVSR": SizeRequirements(minimum=64, multiple_of=4),
}


def size_requirements(network: nn.Module) -> SizeRequirements:
    """What a network declares as ``size_requirements``, or what is known of it; any size otherwise."""
    declared = getattr(network, "size_requirements", None)
    return declared or _STOCK_NETWORKS.get(type(network).__name__, SizeRequirements())
