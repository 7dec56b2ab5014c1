"""The scan of cross-Mamba alignment: a target token reads the state that its reference tokens leave behind."""

from typing import Literal

from torch import Tensor

from vsrm_arch.ops import triton
from vsrm_arch.ops.backends import Backend, Backends
from vsrm_arch.ops.checks import check_dims, check_same_device, check_shape
from vsrm_arch.ops.cross_scan import fused
from vsrm_arch.ops.cross_scan.naive import cross_scan_naive
from vsrm_arch.ops.cross_scan.portable import cross_scan_portable
from vsrm_arch.ops.exporting import is_exporting, operation, without_autocast

__all__ = ["BACKENDS", "cross_scan"]

BACKENDS = Backends(
    "cross_scan",
    [
        Backend("triton", fused.cross_scan_fused, triton.obstacle),
        Backend("portable", cross_scan_portable),
        Backend("naive", cross_scan_naive),
    ],
)


def cross_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    backend: Literal["portable", "naive", "triton"] | None = None,
) -> Tensor:
    """Scans K reference tokens per point and reads the last step with the target's own C (the paper's eq. 9-11).

    ``h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t``, ``y = C h_K + D u_K``, which is the affinity of target and
    references ``y_e = sum_t (sum_n exp(A_en sum_{s>t} delta_se) B_tn C_n) delta_te u_te + D_e u_Ke``. Computed in
    float32 (float64 if u is), under autocast as well.

    Args:
        u: Reference tokens of each point, ``(P, K, E)``; P counts the points of all frames in the batch.
        delta: Time steps before bias and softplus, ``(P, K, E)``.
        A: State matrix, a diagonal per channel, ``(E, N)``; negative.
        B: Input projections of the references, ``(P, K, N)``.
        C: Output projections of the targets, ``(P, N)``.
        D: Skip weights of the last token, ``(E,)``.
        delta_bias: Added to the time steps, ``(E,)``.
        delta_softplus: Whether the time steps pass through a softplus.
        backend: The implementation; by default ``VSRM_CROSS_SCAN_BACKEND`` or the best one for the inputs.

    Returns:
        ``(P, E)`` in u's dtype.

    Raises:
        ValueError: A shape, dtype or device does not fit.
        UserError: The backend asked for is unknown or cannot run here.

    Example:
        >>> u, delta, A = torch.randn(5, 9, 8), torch.rand(5, 9, 8), -torch.rand(8, 4)
        >>> cross_scan(u, delta, A, torch.randn(5, 9, 4), torch.randn(5, 4)).shape
        torch.Size([5, 8])
    """
    check_dims("u", u, "P, K, E")
    check_dims("A", A, "E, N")
    points, tokens, channels = u.shape
    states = A.shape[1]
    check_shape("delta", delta, (points, tokens, channels), "P, K, E")
    check_shape("A", A, (channels, states), "E, N")
    check_shape("B", B, (points, tokens, states), "P, K, N")
    check_shape("C", C, (points, states), "P, N")
    check_shape("D", D, (channels,), "E")
    check_shape("delta_bias", delta_bias, (channels,), "E")
    check_same_device(u, {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "delta_bias": delta_bias})

    if backend is None and is_exporting():
        return _exported(u, delta, A, B, C, D, delta_bias, delta_softplus)

    def limit(name: str) -> str | None:
        return fused.limit(u, A) if name == "triton" else None

    run = BACKENDS.choose(backend, u.device.type, limit)
    with without_autocast(u.device.type):
        return run(u, delta, A, B, C, D, delta_bias, delta_softplus)


_exported = operation(
    "cross_scan(Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? delta_bias, "
    "bool delta_softplus) -> Tensor",
    cross_scan,
    lambda u, *_: u.new_empty(u.shape[0], u.shape[2]),
)
