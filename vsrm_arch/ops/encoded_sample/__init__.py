"""Points of a feature with their positional encoding: what the alignment refers to (the paper's eq. 9)."""

from typing import Literal

from torch import Tensor

from vsrm_arch.ops import triton
from vsrm_arch.ops.backends import Backend, Backends
from vsrm_arch.ops.checks import check_dims, check_same_device, check_shape
from vsrm_arch.ops.encoded_sample import fused, portable
from vsrm_arch.ops.encoded_sample.naive import encoded_sample_naive
from vsrm_arch.ops.exporting import without_autocast

__all__ = ["BACKENDS", "encoded_sample"]

BACKENDS = Backends(
    "encoded_sample",
    [
        Backend("triton", fused.encoded_sample_fused, triton.obstacle),
        Backend("portable", portable.encoded_sample_portable),
        Backend("naive", encoded_sample_naive),
    ],
)


def encoded_sample(
    feature: Tensor,
    position: Tensor,
    local: Tensor,
    extent: float,
    backend: Literal["portable", "naive", "triton"] | None = None,
) -> Tensor:
    """Samples a feature bilinearly, its border replicated, and adds a sinusoidal encoding: ``φ(feature; p) + PE``.

    Positions are float32, under autocast as well: in half precision they would miss by a noticeable part of a pixel.

    Args:
        feature: ``(B, H, W, C)``, channel last; C even.
        position: Where to sample, ``(B, P, 2)`` as (y, x), in pixels.
        local: What to encode, ``(B, P, 2)`` as (y, x), in pixels.
        extent: As in :func:`vsrm_arch.ops.positional_encoding.sinusoidal_encoding`.
        backend: The implementation; by default ``VSRM_ENCODED_SAMPLE_BACKEND`` or the best one for the inputs.

    Returns:
        ``(B, P, C)`` in the feature's dtype.

    Raises:
        ValueError: A shape, dtype or device does not fit.
        UserError: The backend asked for is unknown or cannot run here.

    Example:
        >>> points = torch.rand(1, 7, 2)
        >>> encoded_sample(torch.randn(1, 4, 5, 8), points, points, extent=4.0).shape
        torch.Size([1, 7, 8])
    """
    check_dims("feature", feature, "B, H, W, C")
    check_dims("position", position, "B, P, 2")
    check_shape("position", position, (len(feature), position.shape[1], 2), "B, P, 2")
    check_shape("local", local, tuple(position.shape), "B, P, 2")
    check_same_device(feature, {"feature": feature, "position": position, "local": local})

    def limit(name: str) -> str | None:
        limits = {"triton": fused.limit, "portable": portable.limit}
        return limits[name](feature) if name in limits else None

    run = BACKENDS.choose(backend, feature.device.type, limit)
    with without_autocast(feature.device.type):
        return run(feature, position, local, extent)
