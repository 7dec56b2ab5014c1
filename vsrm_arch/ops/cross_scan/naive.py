"""The definition of the cross scan: the recurrence over the reference tokens, of which the last step is read."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cross_scan_naive"]


def cross_scan_naive(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.cross_scan.cross_scan`."""
    state_dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    x, step, A, B, C = (tensor.to(state_dtype) for tensor in (u, delta, A, B, C))
    step = step if delta_bias is None else step + delta_bias.to(state_dtype)
    step = F.softplus(step) if delta_softplus else step

    h = x.new_zeros(x.shape[0], *A.shape)  # [P, E, N]
    for t in range(x.shape[1]):
        h = torch.exp(step[:, t, :, None] * A) * h + (step[:, t] * x[:, t])[:, :, None] * B[:, t, None, :]
    y = (h * C[:, None, :]).sum(-1)
    return (y if D is None else y + D.to(state_dtype) * x[:, -1]).to(u.dtype)
