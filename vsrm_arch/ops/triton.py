"""Whether Triton's kernels can run, and the sizes they want."""

from functools import cache
from importlib.util import find_spec

import torch

__all__ = ["SUMS", "obstacle", "power_of_two_from", "power_of_two_to"]

# In which precision the backward passes sum over channels on the matrix units, by the dtype of the tokens.
SUMS = {torch.bfloat16: "bf16", torch.float16: "tf32", torch.float32: "tf32x3"}


@cache
def _installed() -> bool:
    return find_spec("triton") is not None


def obstacle(device_type: str) -> str | None:
    """Why Triton's kernels cannot run on a device type, or None if they can."""
    if device_type != "cuda":
        return f"it needs a CUDA device, not {device_type}"
    if not _installed():
        return "Triton is missing (pip install triton)"
    return None


def power_of_two_from(number: int) -> int:
    """The smallest power of two that is not below ``number``."""
    return 1 << max(number - 1, 0).bit_length()


def power_of_two_to(number: int) -> int:
    """The largest power of two that is not above ``number``, at least 1."""
    return 1 << max(number, 1).bit_length() - 1
