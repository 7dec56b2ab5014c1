"""The causal depthwise convolution in plain PyTorch: K shifted multiply-adds on channel-last tokens.

The tokens are taken in blocks that stay in the caches, which on a CPU makes a training step faster than a grouped
convolution would. Saves its inputs only.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrm_arch.ops.scan_order import Visit

__all__ = ["causal_conv1d_portable"]

# Elements (B, S, E) of a block: on a CPU it should stay in the caches, on a GPU fill the card.
_BLOCK = {"cpu": 1 << 16, "other": 1 << 24}


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
    visit = Visit(x.shape[1], scan_order, num_frames, reverse, x.device)
    y: Tensor = _CausalConv1d.apply(x, weight, bias, activation == "silu", visit)
    return y


class _Convolution:
    """The arguments of a convolution, and what all its blocks share.

    Attributes:
        blocks: Of each block its samples, its first step and the one after its last, in the order of the visits.
    """

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None, visit: Visit) -> None:
        self.dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        self.x, self.visit = x, visit
        self.taps = weight.to(self.dtype).t().contiguous()  # [K, E]
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
        """The tokens of a block and the K - 1 visited before it, zero where there are none: ``(B, K - 1 + S, E)``."""
        tokens = self.visit.take(self.x[samples], max(0, first - self.reach), last).to(self.dtype)
        return tokens if first >= self.reach else F.pad(tokens, (0, 0, self.reach - first, 0))

    def convolve(self, tokens: Tensor) -> Tensor:
        """The sum before the activation, ``(B, S, E)``."""
        length = tokens.shape[1] - self.reach
        y = tokens[:, :length] * self.taps[0]
        for k in range(1, self.reach + 1):
            y.addcmul_(tokens[:, k : k + length], self.taps[k])
        return y if self.bias is None else y.add_(self.bias)


class _CausalConv1d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, visit: Visit) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.silu, ctx.visit = silu, visit
        convolution = _Convolution(x, weight, bias, visit)
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for samples, first, last in convolution.blocks:
            y = convolution.convolve(convolution.tokens(samples, first, last))
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
        for samples, first, last in reversed(convolution.blocks):
            tokens, length = convolution.tokens(samples, first, last), last - first
            grad = visit.take(grad_outputs[0][samples], first, last).to(dtype)
            if ctx.silu:
                y = convolution.convolve(tokens)
                sigmoid = torch.sigmoid(y)
                # silu' = s + y s (1 - s) = s (1 + y - y s)
                grad = y.addcmul_(y, sigmoid, value=-1).add_(1).mul_(sigmoid).mul_(grad)
            for k in range(reach + 1):
                grad_taps[k] += (grad * tokens[:, k : k + length]).sum((0, 1))
            grad_bias += grad.sum((0, 1))

            # The block's tokens also reach the K - 1 visited after it, in the block that the loop has just left.
            if last == x.shape[1]:
                after = grad.new_zeros(len(grad), reach, x.shape[2])
            grad = torch.cat((grad, after), dim=1)
            after = grad[:, :reach].clone()
            grad_tokens = grad[:, :length] * taps[-1]
            for k in range(1, reach + 1):
                grad_tokens.addcmul_(grad[:, k : k + length], taps[-1 - k])
            visit.put(grad_x[samples], first, last, grad_tokens)
        grad_weight = grad_taps.t().to(weight.dtype)
        return grad_x, grad_weight, None if bias is None else grad_bias.to(bias.dtype), None, None
