"""The causal depthwise convolution in plain PyTorch, on channel-last tokens.

The tokens are taken in blocks that stay in the caches. Saves its inputs only.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrm_arch.ops.scan_order import Visit

__all__ = ["causal_conv1d_portable"]

# Elements (B, S, E) of a block: on a CPU it should stay in the caches, on a GPU fill the card.
_BLOCK = {"cpu": 1 << 19, "other": 1 << 24}


# The loop over blocks is not for the compiler: under torch.compile it runs as it is, between two graphs.
@torch.compiler.disable
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
    visit = Visit(x.shape[1], scan_order, num_frames, reverse)
    y: Tensor = _CausalConv1d.apply(x, weight, bias, activation == "silu", visit)
    return y


class _Convolution:
    """The arguments of a convolution, and what all its blocks share.

    Attributes:
        blocks: Of each block its samples, its first token and the one after its last, as the order counts them.
        taps: ``(K, E)``, as they lie over the tokens of a window: turned around if the visits are.
    """

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None, visit: Visit) -> None:
        self.dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        self.x, self.visit = x, visit
        self.taps = weight.to(self.dtype).t().contiguous()
        if visit.reverse:
            self.taps = self.taps.flip(0)
        self.bias = None if bias is None else bias.to(self.dtype)
        self.reach = weight.shape[1] - 1
        batch, length, channels = x.shape
        most = _BLOCK["cpu" if x.device.type == "cpu" else "other"] // channels
        samples, steps = max(1, most // length), max(1, min(most, length))
        self.blocks = [
            (slice(sample, sample + samples), first, min(first + steps, length))
            for sample in range(0, batch, samples)
            for first in range(0, length, steps)
        ]

    def tokens(self, samples: slice, first: int, last: int) -> Tensor:
        """The tokens of a block and the K - 1 visited before it, zero where there are none: ``(B, S + K - 1, E)``."""
        start, stop = (first, last + self.reach) if self.visit.reverse else (first - self.reach, last)
        missing = max(0, -start), max(0, stop - self.visit.length)
        tokens = self.visit.take(self.x[samples], start + missing[0], stop - missing[1]).to(self.dtype)
        return F.pad(tokens, (0, 0, *missing)) if any(missing) else tokens

    def forward(self, tokens: Tensor) -> Tensor:
        """The sum before the activation, ``(B, S, E)``."""
        return _windows(tokens, self.taps, self.bias)


def _windows(tokens: Tensor, taps: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y_t = sum_k taps_k tokens_{t+k} + bias``: ``(B, S + K - 1, E)`` and ``(K, E)`` → ``(B, S, E)``."""
    if tokens.device.type == "cpu" and tokens.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        # To oneDNN these are channels-last images of one row; it is faster than the sums below.
        images = tokens.transpose(1, 2).unsqueeze(2)  # [B, E, 1, S + K - 1]
        with torch.autocast("cpu", enabled=False):
            y = F.conv2d(images, taps.t()[:, None, None], bias, groups=taps.shape[1])
        return y.squeeze(2).transpose(1, 2)
    length = tokens.shape[1] - taps.shape[0] + 1
    y = tokens[:, :length] * taps[0]
    for k in range(1, taps.shape[0]):
        y.addcmul_(tokens[:, k : k + length], taps[k])
    return y if bias is None else y.add_(bias)


class _CausalConv1d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, visit: Visit) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.silu, ctx.visit = silu, visit
        convolution = _Convolution(x, weight, bias, visit)
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for samples, first, last in convolution.blocks:
            y = convolution.forward(convolution.tokens(samples, first, last))
            visit.put(out[samples], first, last, F.silu(y, inplace=True) if silu else y)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        x, weight, bias = ctx.saved_tensors
        visit, convolution = ctx.visit, _Convolution(x, weight, bias, ctx.visit)
        dtype, taps, reach = convolution.dtype, convolution.taps, convolution.reach
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        grad_taps, grad_bias = torch.zeros_like(taps), torch.zeros_like(taps[0])
        after = taps.new_empty(0)
        # From the last visits to the first.
        for samples, first, last in convolution.blocks if visit.reverse else reversed(convolution.blocks):
            tokens, length = convolution.tokens(samples, first, last), last - first
            grad = visit.take(grad_outputs[0][samples], first, last).to(dtype)
            if ctx.silu:
                y = convolution.forward(tokens)
                sigmoid = torch.sigmoid(y)
                # silu' = s + y s (1 - s) = s (1 + y - y s)
                grad = y.addcmul_(y, sigmoid, value=-1).add_(1).mul_(sigmoid).mul_(grad)
            for k in range(reach + 1):
                grad_taps[k] += (grad * tokens[:, k : k + length]).sum((0, 1))
            grad_bias += grad.sum((0, 1))

            # The block's tokens also reach the K - 1 visited after it, in the block that the loop has just left.
            if (first == 0) if visit.reverse else (last == visit.length):
                after = grad.new_zeros(len(grad), reach, x.shape[2])
            grad = torch.cat((after, grad) if visit.reverse else (grad, after), dim=1)
            after = (grad[:, length:] if visit.reverse else grad[:, :reach]).clone()
            visit.put(grad_x[samples], first, last, _windows(grad, taps.flip(0)))
        if visit.reverse:
            grad_taps = grad_taps.flip(0)
        grad_weight = grad_taps.t().to(weight.dtype)
        return grad_x, grad_weight, None if bias is None else grad_bias.to(bias.dtype), None, None
