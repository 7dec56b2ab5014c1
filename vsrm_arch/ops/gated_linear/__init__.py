"""A linear layer over a sum of features, gated, and added to what it changes."""

from typing import Literal

from torch import Tensor

from vsrm_arch.ops import triton
from vsrm_arch.ops.backends import Backend, Backends
from vsrm_arch.ops.checks import check_same_device, check_shape
from vsrm_arch.ops.gated_linear import fused
from vsrm_arch.ops.gated_linear.portable import gated_linear_portable
from vsrm_arch.ops.matrices import matrix_limit, working_dtype

__all__ = ["BACKENDS", "gated_linear"]

BACKENDS = Backends(
    "gated_linear",
    [
        Backend("triton", fused.gated_linear_fused, triton.obstacle),
        Backend("portable", gated_linear_portable),
    ],
)


def gated_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    other: Tensor | None = None,
    gate: Tensor | None = None,
    backend: Literal["triton", "portable"] | None = None,
) -> Tensor:
    """``residual + W ((x + other) ⊙ SiLU(gate)) + b``, without what is not given.

    Under autocast the product runs in its dtype, as a linear layer does.

    Args:
        x: ``(..., K)``.
        weight: ``(N, K)``.
        bias: ``(N,)``.
        residual: ``(..., N)``.
        other: ``(..., K)``.
        gate: ``(..., K)``.
        backend: The implementation; by default ``VSRM_GATED_LINEAR_BACKEND`` or the best one for the inputs.

    Returns:
        ``(..., N)`` in the residual's dtype, or without one in autocast's or else x's.

    Raises:
        ValueError: A shape, dtype or device does not fit.
        UserError: The backend asked for is unknown or cannot run here.

    Example:
        >>> gated_linear(torch.randn(2, 7, 8), torch.randn(12, 8), None, torch.zeros(2, 7, 12)).shape
        torch.Size([2, 7, 12])
    """
    columns, channels = len(weight), x.shape[-1]
    check_shape("weight", weight, (columns, channels), "N, K")
    check_shape("bias", bias, (columns,), "N")
    check_shape("residual", residual, (*x.shape[:-1], columns), "..., N")
    check_shape("other", other, tuple(x.shape), "..., K")
    check_shape("gate", gate, tuple(x.shape), "..., K")
    tensors = {"weight": weight, "bias": bias, "residual": residual, "other": other, "gate": gate}
    check_same_device(x, {"x": x, **tensors})
    dtype = working_dtype(x)

    def limit(name: str) -> str | None:
        return matrix_limit(dtype, channels) if name == "triton" else None

    run = BACKENDS.choose(backend, x.device.type, limit)
    return run(x, weight, bias, residual, other, gate)
