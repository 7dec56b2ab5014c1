"""What the device can do at most: bytes a second of a large copy, operations a second of a large matrix product."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vsrm_arch.bench.timing import milliseconds
from vsrm_arch.precision import DTYPES

__all__ = ["Ceilings", "measure_ceilings"]

# Large enough to leave the caches behind and to hide a launch, small enough to take little time.
_COPY_BYTES = {"cuda": 2**29, "cpu": 2**26}
_MATRIX_SIDE = {"cuda": 8192, "cpu": 512}
_REPEATS = {"cuda": 20, "cpu": 5}


@dataclass(frozen=True)
class Ceilings:
    """Measured, the best of several runs.

    Attributes:
        bytes_per_second: Read and written, of a copy within the device's memory.
        flops_per_second: By dtype ("float32", "bf16", "fp16"): of a square matrix product, two for a multiply-add.
    """

    bytes_per_second: float
    flops_per_second: dict[str, float]


def measure_ceilings(device: torch.device, dtypes: Sequence[str]) -> Ceilings:
    """Measures a device.

    float32 products run as PyTorch is set to: without TF32, unless ``torch.set_float32_matmul_precision`` allows it.

    Args:
        device: The device.
        dtypes: Of the matrix products.
    """
    flops = {dtype: _flops_per_second(device, DTYPES[dtype]) for dtype in dict.fromkeys(dtypes)}
    return Ceilings(_bytes_per_second(device), flops)


def _bytes_per_second(device: torch.device) -> float:
    source = torch.zeros(_COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(milliseconds(lambda: target.copy_(source), 1, device) for _ in range(_REPEATS[device.type]))
    return 2 * source.numel() / best * 1e3


def _flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    side = _MATRIX_SIDE[device.type]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = min(milliseconds(lambda: torch.mm(a, b), 1, device) for _ in range(_REPEATS[device.type]))
    return 2.0 * side**3 / best * 1e3
