"""What a selective scan reads, made of a mixer's tokens: the convolved tokens, their steps, B and C (eq. 3)."""

from typing import Literal

from torch import Tensor

from vsrm_arch.ops import triton
from vsrm_arch.ops.backends import Backend, Backends
from vsrm_arch.ops.checks import check_dims, check_same_device, check_shape
from vsrm_arch.ops.matrices import working_dtype
from vsrm_arch.ops.scan_order import ScanOrder, check_scan_order
from vsrm_arch.ops.ssm_inputs import fused
from vsrm_arch.ops.ssm_inputs.portable import ssm_inputs_portable

__all__ = ["BACKENDS", "ssm_inputs"]

BACKENDS = Backends(
    "ssm_inputs",
    [
        Backend("triton", fused.ssm_inputs_fused, triton.obstacle),
        Backend("portable", ssm_inputs_portable),
    ],
)


def ssm_inputs(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_weight: Tensor,
    dt_weight: Tensor,
    reverse: bool = False,
    scan_order: ScanOrder = "s2t",
    num_frames: int = 1,
    backend: Literal["triton", "portable"] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``u = SiLU(Conv1d(x))``, ``[dt, rows] = W_x u``, ``delta = W_dt dt``.

    The rows are B and C of a mixer, or B alone of an alignment.

    Under autocast the products run in its dtype.

    Args:
        x: Tokens, ``(B, L, E)``.
        conv_weight: ``(E, K)``, as in :func:`vsrm_arch.ops.causal_conv1d.causal_conv1d`.
        conv_bias: ``(E,)``.
        x_weight: ``(R + S, E)``.
        dt_weight: ``(E, R)``.
        reverse: Visit the tokens from the end of the order.
        scan_order: "s2t" or "t2s", as in :func:`vsrm_arch.ops.selective_scan.selective_scan`.
        num_frames: Frames in the sequence; only "t2s" needs it.
        backend: The implementation; by default ``VSRM_SSM_INPUTS_BACKEND`` or the best one for the inputs.

    Returns:
        u and delta, ``(B, L, E)``, and the rows, ``(B, L, S)``, tokens in memory's order.

    Raises:
        ValueError: A shape, dtype or device does not fit.
        UserError: The backend asked for is unknown or cannot run here.
    """
    check_dims("x", x, "B, L, E")
    channels, rank = x.shape[2], dt_weight.shape[1]
    check_shape("conv_weight", conv_weight, (channels, conv_weight.shape[1]), "E, K")
    check_shape("conv_bias", conv_bias, (channels,), "E")
    check_shape("x_weight", x_weight, (len(x_weight), channels), "R + S, E")
    check_shape("dt_weight", dt_weight, (channels, rank), "E, R")
    if len(x_weight) <= rank:
        raise ValueError(f"x_weight: expected more than the {rank} rows of dt, got {len(x_weight)}")
    weights = {"conv_weight": conv_weight, "conv_bias": conv_bias, "x_weight": x_weight, "dt_weight": dt_weight}
    check_same_device(x, {"x": x, **weights})
    check_scan_order(x.shape[1], scan_order, num_frames)
    dtype = working_dtype(x)

    def limit(name: str) -> str | None:
        return fused.limit(dtype, x, dt_weight) if name == "triton" else None

    run = BACKENDS.choose(backend, x.device.type, limit)
    return run(x, conv_weight, conv_bias, x_weight, dt_weight, reverse, scan_order, num_frames)
