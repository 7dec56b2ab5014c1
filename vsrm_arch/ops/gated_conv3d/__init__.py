"""Two depthwise 3x3x3 convolutions, one gating the other (the paper's eq. 6)."""

from typing import Literal

import torch
from torch import Tensor

from vsrm_arch.ops import triton
from vsrm_arch.ops.backends import Backend, Backends
from vsrm_arch.ops.checks import check_dims, check_same_device, check_shape
from vsrm_arch.ops.gated_conv3d import fused
from vsrm_arch.ops.gated_conv3d.portable import gated_conv3d_portable

__all__ = ["BACKENDS", "gated_conv3d"]

BACKENDS = Backends(
    "gated_conv3d",
    [
        Backend("triton", fused.gated_conv3d_fused, triton.obstacle),
        Backend("portable", gated_conv3d_portable),
    ],
)


def gated_conv3d(
    value: Tensor,
    gate: Tensor,
    value_weight: Tensor,
    value_bias: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    backend: Literal["portable", "triton"] | None = None,
) -> Tensor:
    """Convolves two features depthwise over frames, rows and columns; the second gates the first.

    ``out = (W_d1 value + b_1) ⊙ GELU(W_d2 gate + b_2)``, zero padded. Under autocast both features are rounded to its
    dtype first, as convolutions do.

    Args:
        value: ``(B, T, H, W, C)``, channel last.
        gate: ``(B, T, H, W, C)``.
        value_weight: ``(C, 1, 3, 3, 3)``, as a depthwise ``Conv3d`` holds it.
        value_bias: ``(C,)``.
        gate_weight: ``(C, 1, 3, 3, 3)``.
        gate_bias: ``(C,)``.
        backend: The implementation; by default ``VSRM_GATED_CONV3D_BACKEND`` or the best one for the inputs.

    Returns:
        ``(B, T, H, W, C)`` in the dtype of the features as rounded.

    Raises:
        ValueError: A shape, dtype or device does not fit.
        UserError: The backend asked for is unknown or cannot run here.

    Example:
        >>> value, gate = torch.randn(2, 1, 3, 4, 5, 8)
        >>> weight, bias = torch.randn(8, 1, 3, 3, 3), torch.zeros(8)
        >>> gated_conv3d(value, gate, weight, bias, weight, bias).shape
        torch.Size([1, 3, 4, 5, 8])
    """
    check_dims("value", value, "B, T, H, W, C")
    check_shape("gate", gate, tuple(value.shape), "B, T, H, W, C")
    channels = value.shape[-1]
    weights = {"value_weight": value_weight, "gate_weight": gate_weight}
    biases = {"value_bias": value_bias, "gate_bias": gate_bias}
    for name, weight in weights.items():
        check_shape(name, weight, (channels, 1, 3, 3, 3), "C, 1, 3, 3, 3")
    for name, bias in biases.items():
        check_shape(name, bias, (channels,), "C")
    check_same_device(value, {"value": value, "gate": gate, **weights, **biases})
    device_type = value.device.type
    if torch.is_autocast_enabled(device_type):
        value, gate = (x.to(torch.get_autocast_dtype(device_type)) for x in (value, gate))

    def limit(name: str) -> str | None:
        return fused.limit(value, gate) if name == "triton" else None

    run = BACKENDS.choose(backend, device_type, limit)
    return run(value, gate, value_weight, value_bias, gate_weight, gate_bias)
