"""Multiply-adds of a network, counted on tensors without memory: nothing is computed.

The protocol is the one that reproduces IART's published 177.8 G: multiply-adds of convolutions and matrix products, 5
for each element of a LayerNorm, interpolation and activations free, flow network and upsampler included, for an output
frame of an endless clip. The scans stand beside it, 9 · tokens · channels · states for each direction.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from vsrm_arch.alignments import DCA
from vsrm_arch.layers import Backbone, SwinBackbone
from vsrm_arch.ops import causal_conv1d, cross_scan, selective_scan

__all__ = ["Macs", "count_macs", "macs_of_clip"]

Shape = tuple[int, ...]

# The two lengths whose difference is a frame of an endless clip: it is exact for networks that look back at most two
# frames, as second-order propagation does.
_LENGTHS = (3, 4)
_LAYER_NORM = 5  # an element


@dataclass(frozen=True)
class Macs:
    """Multiply-adds.

    Attributes:
        protocol: As publications count them: every operation as it is defined.
        needed: Without the scans, and with what the definition repeats counted once. A form that multiplies more than
            this, since it is faster, counts as what it stands for.
        scan: 9 · tokens · channels · states, summed over all scans and directions.
    """

    protocol: float
    needed: float
    scan: float

    def __add__(self, other: "Macs") -> "Macs":
        return Macs(self.protocol + other.protocol, self.needed + other.needed, self.scan + other.scan)

    def __mul__(self, factor: float) -> "Macs":
        return Macs(self.protocol * factor, self.needed * factor, self.scan * factor)

    def __sub__(self, other: "Macs") -> "Macs":
        return self + other * -1


def count_macs(build: Callable[[], nn.Module], height: int, width: int, num_frames: int) -> tuple[Macs, Macs]:
    """Counts a network's multiply-adds.

    Args:
        build: Builds the network, which takes ``(1, T, 3, height, width)``.
        height: Of a frame, in LR pixels.
        width: Likewise.
        num_frames: T.

    Returns:
        Those of one frame of an endless clip, and those of a clip of ``num_frames``.
    """
    with FakeTensorMode():
        network = build().eval()
        shorter, longer = (macs_of_clip(network, height, width, length) for length in _LENGTHS)
        frame = longer - shorter
        if num_frames >= _LENGTHS[0]:
            return frame, shorter + frame * (num_frames - _LENGTHS[0])
        return frame, macs_of_clip(network, height, width, num_frames)


def macs_of_clip(network: nn.Module, height: int, width: int, num_frames: int) -> Macs:
    """Multiply-adds of a pass over a clip ``(1, num_frames, 3, height, width)``; the network's tensors may be fake."""
    weight = next(network.parameters(), torch.empty(0))
    clip = torch.empty(1, num_frames, 3, height, width, device=weight.device)
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    with torch.no_grad(), _stand_ins(), _extra_work(network) as extra, counter, _NothingKnown():
        network(clip)
    counts = counter.get_flop_counts().get("Global", {})
    scan = sum(count for op, count in counts.items() if op in _SCANS)
    needed = (sum(counts.values()) - scan) / 2
    return Macs(needed + sum(extra), needed, scan / 2)


class _NothingKnown(TorchDispatchMode):
    """Answers each question about a tensor's value, which no tensor here has, by zero or false."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return 0 if func is torch.ops.aten._local_scalar_dense.default else func(*args, **(kwargs or {}))


# -------------------------------------------------------------------------------------------------------------- ops

# What runs in place of our ops, whatever their backend: an op that has a shape and a formula only.


@torch.library.custom_op("vsrm_bench::selective_scan", mutates_args=())
def _selective_scan(u: Tensor, A: Tensor) -> Tensor:
    return torch.empty_like(u)


@torch.library.custom_op("vsrm_bench::cross_scan", mutates_args=())
def _cross_scan(u: Tensor, A: Tensor) -> Tensor:
    return torch.empty_like(u[:, 0])


@torch.library.custom_op("vsrm_bench::causal_conv1d", mutates_args=())
def _causal_conv1d(x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x)


_selective_scan.register_fake(lambda u, A: torch.empty_like(u))
_cross_scan.register_fake(lambda u, A: torch.empty_like(u[:, 0]))
_causal_conv1d.register_fake(lambda x, weight: torch.empty_like(x))


@contextmanager
def _stand_ins() -> Iterator[None]:
    with ExitStack() as stack:
        for op, stand_in in (
            (selective_scan, lambda u, delta, A, *others: _selective_scan(u, A)),
            (cross_scan, lambda u, delta, A, *others: _cross_scan(u, A)),
            (causal_conv1d, lambda x, weight, *others: _causal_conv1d(x, weight)),
        ):
            stack.enter_context(op.BACKENDS.replaced(stand_in))
        yield


# Formulas give operations, two for each multiply-add, as PyTorch's own do; tensors arrive as their shapes.


def _scan_flops(u: Shape, A: Shape, **_: Any) -> int:
    return 2 * 9 * prod(u) * A[1]


def _causal_conv1d_flops(x: Shape, weight: Shape, **_: Any) -> int:
    return 2 * prod(x) * weight[1]


def _layer_norm_flops(x: Shape, *_: Any, **__: Any) -> int:
    return 2 * _LAYER_NORM * prod(x)


def _deform_conv2d_flops(x: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * prod(out_shape) * prod(weight[1:])


def _attention_flops(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))


_SCANS = (torch.ops.vsrm_bench.selective_scan, torch.ops.vsrm_bench.cross_scan)
_FORMULAS = {
    **dict.fromkeys(_SCANS, _scan_flops),
    torch.ops.vsrm_bench.causal_conv1d: _causal_conv1d_flops,
    torch.ops.aten.native_layer_norm: _layer_norm_flops,
    torch.ops.torchvision.deform_conv2d: _deform_conv2d_flops,
    # Older versions of PyTorch have no formula for it: 2.11, for one.
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}


# ------------------------------------------------------------------------------------------------------------ saved


@contextmanager
def _extra_work(network: nn.Module) -> Iterator[list[int]]:
    """Collects what our code leaves out of the definitions, since it gives the same.

    Eq. 9 runs DCA's offset network on the window of each pixel, our code once on a frame: nine results a pixel, or one,
    and one more around the frame. Backbones norm all frames of a step at the end, ours the centre one alone.
    """
    extra: list[int] = []

    def of_alignment(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, DCA)
        batch, _, height, width = output.shape
        weights = sum(parameter.numel() for parameter in module.offset_net.parameters() if parameter.dim() > 1)
        extra.append(weights * batch * (9 * height * width - (height + 2) * (width + 2)))

    def of_backbone(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        extra.append(_LAYER_NORM * (inputs[0].numel() - output.numel()))

    hooks = {DCA: of_alignment, Backbone: of_backbone, SwinBackbone: of_backbone}
    handles = [m.register_forward_hook(hooks[type(m)]) for m in network.modules() if type(m) in hooks]
    try:
        yield extra
    finally:
        for handle in handles:
            handle.remove()
