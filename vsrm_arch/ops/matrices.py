"""What the ops that multiply tokens by a matrix share."""

import torch
from torch import Tensor

__all__ = ["MOST_CHANNELS", "matrix_limit", "working_dtype"]

MOST_CHANNELS = 256  # of a token that the kernels multiply: they hold it as a whole


def working_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which a matrix product of x runs: autocast's, or else its own."""
    device_type = x.device.type
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else x.dtype


def matrix_limit(dtype: torch.dtype, channels: int) -> str | None:
    """Why the kernels cannot multiply tokens of so many channels in a dtype, or None if they can."""
    if dtype not in (torch.bfloat16, torch.float16):
        return f"it multiplies in bfloat16 and float16 only, not in {dtype}: see amp"
    if channels > MOST_CHANNELS:
        return f"it takes at most {MOST_CHANNELS} channels, not {channels}"
    return None
