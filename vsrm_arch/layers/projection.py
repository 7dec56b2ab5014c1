"""The linear layer that a residual block begins with."""

from torch import Tensor, nn

from vsrm_arch.ops.norm_linear import norm_linear

__all__ = ["project"]


def project(linear: nn.Linear, x: Tensor, norm: nn.LayerNorm | None) -> Tensor:
    """``linear(norm(x))``, or without a norm ``linear(x)``.

    Args:
        linear: C → N.
        x: ``(..., C)``.
        norm: LayerNorm over C.

    Returns:
        ``(..., N)``.
    """
    if norm is None:
        return linear(x)
    return norm_linear(x, norm.weight, norm.bias, linear.weight, linear.bias, eps=norm.eps)
