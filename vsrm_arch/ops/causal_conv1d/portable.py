"""The causal depthwise convolution in plain PyTorch: K shifted multiply-adds on channel-last tokens.

On a CPU this is faster than a grouped convolution, which wants channels first, and the reversed direction is a shift
the other way. Saves its inputs only.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrm_arch.ops.scan_order import Visit

__all__ = ["causal_conv1d_portable"]


def causal_conv1d_portable(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    reverse: bool,
    scan_order: str,
    num_frames: int,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.causal_conv1d.causal_conv1d`."""
    # A shift the other way is the reversed direction; only the interleaved order needs the tokens moved.
    visit = Visit(x.shape[1], scan_order, num_frames, False, x.device)
    y: Tensor = _CausalConv1d.apply(visit.take(x, 0, x.shape[1]), weight, bias, activation == "silu", reverse)
    return visit.back(y)


def _shifts(length: int, taps: int, reverse: bool) -> list[tuple[int, slice, slice]]:
    """For each tap but the last: its index, the tokens it reaches, and the tokens that it reads for them."""
    shifts = []
    for distance in range(1, min(taps, length)):
        later, earlier = slice(distance, length), slice(0, length - distance)
        reached, read = (earlier, later) if reverse else (later, earlier)
        shifts.append((taps - 1 - distance, reached, read))
    return shifts


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """The sum before the activation, ``(B, L, E)``."""
    y = x * weight[:, -1] if bias is None else torch.addcmul(bias, x, weight[:, -1])
    for tap, reached, read in _shifts(x.shape[1], weight.shape[1], reverse):
        y[:, reached].addcmul_(x[:, read], weight[:, tap])
    return y


class _CausalConv1d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.silu, ctx.reverse = silu, reverse
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        y = _convolve(x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), reverse)
        return (F.silu(y, inplace=True) if silu else y).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        x, weight, bias = ctx.saved_tensors
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        tokens, taps, grad = x.to(dtype), weight.to(dtype), grad_outputs[0].to(dtype)
        if ctx.silu:
            y = _convolve(tokens, taps, None if bias is None else bias.to(dtype), ctx.reverse)
            sigmoid = torch.sigmoid(y)
            # silu' = s + y s (1 - s) = s (1 + y - silu)
            grad = grad * sigmoid.mul_(y.addcmul_(y, sigmoid, value=-1).add_(1))
        grad_x = grad * taps[:, -1]
        grad_taps = torch.zeros_like(taps)
        grad_taps[:, -1] = (grad * tokens).sum((0, 1))
        for tap, reached, read in _shifts(x.shape[1], taps.shape[1], ctx.reverse):
            grad_x[:, read].addcmul_(grad[:, reached], taps[:, tap])
            grad_taps[:, tap] = (grad[:, reached] * tokens[:, read]).sum((0, 1))
        grad_bias = None if bias is None else grad.sum((0, 1)).to(bias.dtype)
        return grad_x.to(x.dtype), grad_taps.to(weight.dtype), grad_bias, None, None
