"""Functions with no parameters and no state: each a folder with its definition, a portable version and faster ones."""

from collections.abc import Sequence

import torch

from vsrm_arch.ops import (
    causal_conv1d,
    cross_scan,
    encoded_sample,
    gated_conv3d,
    gated_linear,
    norm_linear,
    selective_scan,
)
from vsrm_arch.ops.backends import INSTALL_CUDA, BackendInfo

__all__ = ["INSTALL_CUDA", "BackendInfo", "describe_backends"]


def describe_backends(device_types: Sequence[str] | None = None) -> list[BackendInfo]:
    """Every op's backends, the best first, as ``basicsr doctor`` prints them.

    Args:
        device_types: "cpu", "cuda", ...: where the ops would run; by default the CPU and, if there is one, the
            accelerator.

    Raises:
        UserError: An environment variable names a backend that does not exist.
    """
    ops = (selective_scan, causal_conv1d, cross_scan, gated_conv3d, norm_linear, gated_linear, encoded_sample)
    if device_types is None:
        device_types = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return [info for device_type in device_types for op in ops for info in op.BACKENDS.describe(device_type)]
