"""The definition of the selective scan: one step of the recurrence after the other, gradients by autograd."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["selective_scan_naive"]


def selective_scan_naive(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    scan_order: str,
    num_frames: int,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.selective_scan.selective_scan`."""
    state_dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    x, step, A, B, C = (tensor.to(state_dtype) for tensor in (u, delta, A, B, C))
    step = step if delta_bias is None else step + delta_bias.to(state_dtype)
    step = F.softplus(step) if delta_softplus else step

    length = u.shape[1]
    size = length // num_frames
    order = [t * size + s for s in range(size) for t in range(num_frames)] if scan_order == "t2s" else range(length)
    steps, inputs, rows, columns = step.unbind(1), (step * x).unbind(1), B.unbind(1), C.unbind(1)

    h = x.new_zeros(x.shape[0], *A.shape)  # [B, E, N]
    outputs = [h] * length
    for i in reversed(order) if reverse else order:
        h = torch.exp(steps[i][:, :, None] * A) * h + inputs[i][:, :, None] * rows[i][:, None, :]
        outputs[i] = (h * columns[i][:, None, :]).sum(-1)
    y = torch.stack(outputs, dim=1)

    y = y if D is None else y + D.to(state_dtype) * x
    y = y if z is None else y * F.silu(z.to(state_dtype))
    return y.to(u.dtype)
