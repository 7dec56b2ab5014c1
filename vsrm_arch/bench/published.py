"""What is published of the networks that the paper compares."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

__all__ = ["PUBLISHED", "Published", "published_count"]


@dataclass(frozen=True)
class Published:
    """A row of the paper's Table 8.

    Attributes:
        method: Its name there.
        parameters: Millions.
        gflops: Called FLOPs (G); of the networks counted here, multiply-adds.
        ms: A frame on an RTX A6000; None: not given.
    """

    method: str
    parameters: float
    gflops: float
    ms: float | None


# By the number of parameters that the published network has here: another size of it is another network.
PUBLISHED = {
    17_076_281: Published("VSRM", 17.1, 217.4, 223),
    13_410_503: Published("IART", 13.4, 177.8, 180),
    13_366_943: Published("PSRT-recurrent", 13.4, 164.6, 173),
    20_633_827: Published("EDVR", 20.6, 323.6, None),
}

# Registered network → its arguments as published, all others being the defaults, and its number of parameters then.
_SIZES: dict[str, tuple[dict[str, Any], int]] = {
    "VSRM": ({"embed_dim": 112, "num_damb": 3, "num_s2tmb": 6}, 17_076_281),
    "IART": ({"embed_dim": 120, "depths": (6, 6, 6), "num_heads": 6}, 13_410_503),
    "BasicRecurrentSwin": ({"embed_dim": 120, "depths": (6, 6, 6), "num_heads": 6}, 13_366_943),
    "BasicVSRPlusPlus": ({"mid_channels": 64, "num_blocks": 7}, 7_322_927),
    "ClipEDVR": ({"num_feat": 128, "num_frame": 5, "num_reconstruct_block": 40}, 20_633_827),
}
# They change no parameter.
_FREE = {"checkpoint", "cpu_cache_length", "cuda_graphs", "max_residue_magnitude", "padding", "spynet_path"}


def published_count(network: Mapping[str, Any]) -> int | None:
    """The number of parameters that a network with these arguments has as published.

    Args:
        network: ``network_g``.

    Returns:
        None if the network, or this size of it, is none of those known.
    """
    if network["type"] not in _SIZES:
        return None
    published, count = _SIZES[network["type"]]
    parameters = inspect.signature(ARCH_REGISTRY.get(network["type"])).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in parameters}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in network.items() if key != "type"}
    differing = {key for key, value in (defaults | given).items() if value != (defaults | published)[key]}
    return count if differing <= _FREE else None
