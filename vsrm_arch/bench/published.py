"""What the paper says of the networks that it compares."""

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published"]


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
