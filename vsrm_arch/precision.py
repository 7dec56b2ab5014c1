"""Floating-point precisions, by the names that option files and commands use."""

from typing import Literal

import torch

__all__ = ["DTYPES", "PRECISIONS", "Precision", "autocast"]

Precision = Literal["off", "bf16", "fp16"]

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# A network keeps its weights in float32; the others are autocast, as in training and validation.
PRECISIONS: dict[str, Precision] = {"float32": "off", "bf16": "bf16", "fp16": "fp16"}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Mixed precision for a block; nothing where it is off."""
    dtype = DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
