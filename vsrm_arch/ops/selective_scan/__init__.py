"""The selective scan of Mamba: a linear recurrence whose coefficients depend on the tokens."""

from typing import Any, Literal

import torch
from torch import Tensor

from vsrm_arch.ops import triton
from vsrm_arch.ops.backends import Backend, Backends
from vsrm_arch.ops.checks import check_dims, check_same_device, check_shape
from vsrm_arch.ops.exporting import is_exporting, operation, without_autocast
from vsrm_arch.ops.scan_order import ScanOrder, check_scan_order
from vsrm_arch.ops.selective_scan import fused, mamba_ssm
from vsrm_arch.ops.selective_scan.naive import selective_scan_naive
from vsrm_arch.ops.selective_scan.portable import selective_scan_portable

__all__ = ["BACKENDS", "selective_scan"]

BACKENDS: Backends[Any] = Backends(
    "selective_scan",
    [
        Backend("triton", fused.selective_scan_fused, triton.obstacle),
        Backend("mamba_ssm", mamba_ssm.selective_scan_mamba_ssm, mamba_ssm.obstacle),
        Backend("portable", selective_scan_portable),
        Backend("naive", selective_scan_naive),
    ],
)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    reverse: bool | Literal["both"] = False,
    scan_order: ScanOrder = "s2t",
    num_frames: int = 1,
    backend: Literal["mamba_ssm", "portable", "naive", "triton"] | None = None,
) -> Tensor:
    """Runs the selective state space model over a sequence of tokens (the paper's eq. 2).

    In the order of the visits, with ``h = 0`` before the first and ``delta`` after bias and softplus::

        h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t,    y_t = C_t h_t + D u_t,    out_t = y_t SiLU(z_t)

    The state h is float32 (float64 if u is), under autocast as well.

    Args:
        u: Inputs, ``(B, L, E)``.
        delta: Time steps before bias and softplus, ``(B, L, E)``.
        A: State matrix, a diagonal per channel, ``(E, N)``; negative, so that the state decays.
        B: Input projections, ``(B, L, N)``.
        C: Output projections, ``(B, L, N)``.
        D: Skip weights, ``(E,)``.
        z: Gate before its SiLU, ``(B, L, E)``.
        delta_bias: Added to the time steps, ``(E,)``.
        delta_softplus: Whether the time steps pass through a softplus.
        reverse: Visit the tokens from the end of the order. "both": all tensors have a leading axis of two directions
            with tokens and parameters of their own, forwards and reverse, and so has the result.
        scan_order: Tokens lie in memory as ``t * S + s`` for frame t and position s, ``L = num_frames * S``. "s2t"
            visits them as they lie; "t2s" visits all frames of a position before the next position.
        num_frames: Frames in the sequence; only "t2s" needs it.
        backend: The implementation; by default ``VSRM_SELECTIVE_SCAN_BACKEND`` or the best one for the inputs.

    Returns:
        ``(B, L, E)``, in memory's order and in u's dtype.

    Raises:
        ValueError: A shape, dtype or device does not fit.
        UserError: The backend asked for is unknown or cannot run here.

    Example:
        >>> u, delta = torch.randn(1, 12, 8), torch.rand(1, 12, 8)
        >>> A, B, C = -torch.rand(8, 4), torch.randn(1, 12, 4), torch.randn(1, 12, 4)
        >>> selective_scan(u, delta, A, B, C, scan_order="t2s", num_frames=3).shape
        torch.Size([1, 12, 8])
    """
    axes, both = ("2, ", (2,)) if reverse == "both" else ("", ())
    check_dims("u", u, axes + "B, L, E")
    check_dims("A", A, axes + "E, N")
    batch, length, channels = u.shape[-3:]
    states = A.shape[-1]
    check_shape("u", u, (*both, batch, length, channels), axes + "B, L, E")
    check_shape("A", A, (*both, channels, states), axes + "E, N")
    for name, tokens in (("delta", delta), ("z", z)):
        check_shape(name, tokens, (*both, batch, length, channels), axes + "B, L, E")
    for name, tokens in (("B", B), ("C", C)):
        check_shape(name, tokens, (*both, batch, length, states), axes + "B, L, N")
    for name, vector in (("D", D), ("delta_bias", delta_bias)):
        check_shape(name, vector, (*both, channels), axes + "E")
    check_same_device(u, {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias})
    check_scan_order(length, scan_order, num_frames)

    tensors = (u, delta, A, B, C, D, z, delta_bias)
    if backend is None and is_exporting():
        return _exported(*tensors, delta_softplus, reverse is True, reverse == "both", scan_order, num_frames)

    def limit(name: str) -> str | None:
        limits = {"mamba_ssm": mamba_ssm.limit, "triton": fused.limit}
        return limits[name](u, A) if name in limits else None

    run = BACKENDS.choose(backend, u.device.type, limit)
    with without_autocast(u.device.type):
        if reverse != "both" or run is fused.selective_scan_fused:
            return run(*tensors, delta_softplus, reverse, scan_order, num_frames)
        forwards, backwards = zip(*((None, None) if t is None else t.unbind() for t in tensors), strict=True)
        return torch.stack(
            [
                run(*forwards, delta_softplus, False, scan_order, num_frames),
                run(*backwards, delta_softplus, True, scan_order, num_frames),
            ]
        )


def _run(*arguments: Any) -> Tensor:
    u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse, both, scan_order, num_frames = arguments
    direction: Any = "both" if both else reverse
    return selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, direction, scan_order, num_frames)


_exported = operation(
    "selective_scan(Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias, "
    "bool delta_softplus, bool reverse, bool both, str scan_order, int num_frames) -> Tensor",
    _run,
    lambda u, *_: torch.empty_like(u, memory_format=torch.contiguous_format),
)
