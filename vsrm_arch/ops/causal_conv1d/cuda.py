"""The causal depthwise convolution by the package causal-conv1d, which knows one direction and one order."""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from vsrm_arch.ops.backends import INSTALL_CUDA, unordered_sums
from vsrm_arch.ops.scan_order import Visit

__all__ = ["causal_conv1d_cuda", "limit", "obstacle"]


@cache
def _installed() -> bool:
    return find_spec("causal_conv1d_cuda") is not None


def obstacle(device_type: str) -> str | None:
    """Why the backend cannot run on a device type, or None if it can."""
    if device_type != "cuda":
        return f"it needs a CUDA device, not {device_type}"
    if not _installed():
        return f"the module causal_conv1d_cuda is missing; {INSTALL_CUDA}"
    return None


def limit(x: Tensor, weight: Tensor) -> str | None:
    """Why the package cannot take inputs (B, L, E) and weights (E, K), or None if it can."""
    if x.dtype == torch.float64:
        return "it knows no float64"
    if not 2 <= weight.shape[-1] <= 4:
        return f"it takes 2 to 4 taps, not {weight.shape[-1]}"
    if x.shape[2] % 8:
        return f"it takes channel-last tokens with a multiple of 8 channels, not {x.shape[2]}"
    if x.numel() > 2**31 - 1:
        return f"it takes at most {2**31 - 1} elements (32-bit offsets), not {x.numel()}: split the sequence"
    return unordered_sums()


def causal_conv1d_cuda(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    reverse: bool,
    scan_order: str,
    num_frames: int,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.causal_conv1d.causal_conv1d`."""
    from causal_conv1d import causal_conv1d_fn

    visit = Visit(x.shape[1], scan_order, num_frames, reverse)
    # A transposed view: the package reads channel-last memory as it is.
    tokens = visit.visited(x).contiguous().transpose(1, 2)
    # The bias must have the weight's dtype; the tokens may have another.
    bias = None if bias is None else bias.to(weight.dtype).contiguous()
    y = causal_conv1d_fn(tokens, weight.contiguous(), bias, activation=activation)
    return visit.back(y.transpose(1, 2))
