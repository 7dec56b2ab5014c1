"""LayerNorm, a linear layer, and optionally LayerNorm of each part of its result."""

from typing import Literal

from torch import Tensor

from vsrm_arch.ops import triton
from vsrm_arch.ops.backends import Backend, Backends
from vsrm_arch.ops.checks import check_same_device, check_shape
from vsrm_arch.ops.matrices import working_dtype
from vsrm_arch.ops.norm_linear import fused
from vsrm_arch.ops.norm_linear.portable import norm_linear_portable

__all__ = ["BACKENDS", "norm_linear"]

BACKENDS = Backends(
    "norm_linear",
    [
        Backend("triton", fused.norm_linear_fused, triton.obstacle),
        Backend("portable", norm_linear_portable),
    ],
)


def norm_linear(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    part_weight: Tensor | None = None,
    part_bias: Tensor | None = None,
    eps: float = 1e-5,
    backend: Literal["triton", "portable"] | None = None,
) -> Tensor:
    """``y = W LN(x) + b``; with ``part_weight`` followed by a LayerNorm of each of its G equal parts.

    Without ``norm_weight`` and ``norm_bias`` x is not normalised before.

    Means and variances are float32. Under autocast the product runs in its dtype.

    Args:
        x: Tokens, ``(..., K)``.
        norm_weight: ``(K,)``.
        norm_bias: ``(K,)``.
        weight: ``(N, K)``.
        bias: ``(N,)``.
        part_weight: ``(G, N / G)``, of the norms of the parts.
        part_bias: Likewise; given if ``part_weight`` is.
        eps: Of all norms.
        backend: The implementation; by default ``VSRM_NORM_LINEAR_BACKEND`` or the best one for the inputs.

    Returns:
        ``(..., N)``, in autocast's dtype or else x's.

    Raises:
        ValueError: A shape, dtype or device does not fit.
        UserError: The backend asked for is unknown or cannot run here.

    Example:
        >>> norm_linear(torch.randn(2, 7, 8), torch.ones(8), torch.zeros(8), torch.randn(12, 8)).shape
        torch.Size([2, 7, 12])
    """
    columns, channels = len(weight), x.shape[-1]
    check_shape("weight", weight, (columns, channels), "N, K")
    check_shape("norm_weight", norm_weight, (channels,), "K")
    check_shape("norm_bias", norm_bias, (channels,), "K")
    check_shape("bias", bias, (columns,), "N")
    for name, pair in {"norm": (norm_weight, norm_bias), "part": (part_weight, part_bias)}.items():
        if (pair[0] is None) != (pair[1] is None):
            raise ValueError(f"{name}_weight and {name}_bias: expected both or none of them")
    if part_weight is not None:
        parts = len(part_weight)
        if columns % parts:
            raise ValueError(f"part_weight: {columns} columns do not divide into {parts} parts")
        check_shape("part_weight", part_weight, (parts, columns // parts), "G, N / G")
        check_shape("part_bias", part_bias, (parts, columns // parts), "G, N / G")
    tensors = {"norm_weight": norm_weight, "norm_bias": norm_bias, "weight": weight, "bias": bias}
    check_same_device(x, {"x": x, **tensors, "part_weight": part_weight, "part_bias": part_bias})
    dtype = working_dtype(x)

    def limit(name: str) -> str | None:
        return fused.limit(dtype, weight, part_weight) if name == "triton" else None

    run = BACKENDS.choose(backend, x.device.type, limit)
    return run(x, norm_weight, norm_bias, weight, bias, part_weight, part_bias, eps)
