"""A causal depthwise convolution over tokens, in the direction and order of the scan that follows it."""

from typing import Any, Literal

import torch
from torch import Tensor

from vsrm_arch.ops import triton
from vsrm_arch.ops.backends import Backend, Backends
from vsrm_arch.ops.causal_conv1d import cuda, fused
from vsrm_arch.ops.causal_conv1d.naive import causal_conv1d_naive
from vsrm_arch.ops.causal_conv1d.portable import causal_conv1d_portable
from vsrm_arch.ops.checks import check_dims, check_same_device, check_shape
from vsrm_arch.ops.exporting import is_exporting, operation, without_autocast
from vsrm_arch.ops.scan_order import ScanOrder, check_scan_order

__all__ = ["BACKENDS", "causal_conv1d"]

BACKENDS: Backends[Any] = Backends(
    "causal_conv1d",
    [
        Backend("triton", fused.causal_conv1d_fused, triton.obstacle),
        Backend("causal_conv1d", cuda.causal_conv1d_cuda, cuda.obstacle),
        Backend("portable", causal_conv1d_portable),
        Backend("naive", causal_conv1d_naive),
    ],
)


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = "silu",
    reverse: bool | Literal["both"] = False,
    scan_order: ScanOrder = "s2t",
    num_frames: int = 1,
    backend: Literal["causal_conv1d", "portable", "naive", "triton"] | None = None,
) -> Tensor:
    """Convolves each channel along the visited tokens: each output sees its token and the K - 1 visited before it.

    ``y_t = activation(sum_k weight_k x_{t - (K - 1) + k} + bias)``, where t
    counts the visits and tokens before the first are zero.
    Computed in float32 (float64 if x is), under autocast as well.

    Args:
        x: Tokens, ``(B, L, E)``.
        weight: ``(E, K)``; the last tap weighs the token itself.
        bias: ``(E,)``.
        activation: "silu" or None.
        reverse: Visit the tokens from the end of the order. "both": weight and bias have a leading axis of two
            directions, forwards and reverse, and so has the result; x is the same for both.
        scan_order: "s2t" or "t2s", as in :func:`vsrm_arch.ops.selective_scan.selective_scan`.
        num_frames: Frames in the sequence; only "t2s" needs it.
        backend: The implementation; by default ``VSRM_CAUSAL_CONV1D_BACKEND`` or the best one for the inputs.

    Returns:
        ``(B, L, E)``, in memory's order and in x's dtype.

    Raises:
        ValueError: A shape, dtype or device does not fit, or the activation is unknown.
        UserError: The backend asked for is unknown or cannot run here.

    Example:
        >>> causal_conv1d(torch.randn(1, 12, 8), torch.randn(8, 4), reverse=True).shape
        torch.Size([1, 12, 8])
    """
    check_dims("x", x, "B, L, E")
    axes, both = ("2, ", (2,)) if reverse == "both" else ("", ())
    check_dims("weight", weight, axes + "E, K")
    check_shape("weight", weight, (*both, x.shape[2], weight.shape[-1]), axes + "E, K")
    check_shape("bias", bias, (*both, x.shape[2]), axes + "E")
    check_same_device(x, {"x": x, "weight": weight, "bias": bias})
    check_scan_order(x.shape[1], scan_order, num_frames)
    if activation not in ("silu", None):
        raise ValueError(f"activation: expected 'silu' or None, got {activation!r}")

    if backend is None and is_exporting():
        return _exported(x, weight, bias, activation, reverse is True, reverse == "both", scan_order, num_frames)

    def limit(name: str) -> str | None:
        limits = {"causal_conv1d": cuda.limit, "triton": fused.limit}
        return limits[name](x, weight) if name in limits else None

    run = BACKENDS.choose(backend, x.device.type, limit)
    with without_autocast(x.device.type):
        if reverse != "both" or run is fused.causal_conv1d_fused:
            return run(x, weight, bias, activation, reverse, scan_order, num_frames)
        biases = (None, None) if bias is None else bias.unbind()
        return torch.stack(
            [
                run(x, weight[0], biases[0], activation, False, scan_order, num_frames),
                run(x, weight[1], biases[1], activation, True, scan_order, num_frames),
            ]
        )


def _run(*arguments: Any) -> Tensor:
    x, weight, bias, activation, reverse, both, scan_order, num_frames = arguments
    return causal_conv1d(x, weight, bias, activation, "both" if both else reverse, scan_order, num_frames)


_exported = operation(
    "causal_conv1d(Tensor x, Tensor weight, Tensor? bias, str? activation, bool reverse, bool both, str scan_order, "
    "int num_frames) -> Tensor",
    _run,
    lambda x, weight, *_: x.new_empty(*weight.shape[:-2], *x.shape),
)
