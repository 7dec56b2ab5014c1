"""What the ops are timed on, and the least that they must move and compute for it."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from vsrm_arch.alignments import DCA
from vsrm_arch.ops import (
    causal_conv1d,
    cross_scan,
    encoded_sample,
    gated_conv3d,
    gated_linear,
    norm_linear,
    selective_scan,
)
from vsrm_arch.ops.backends import Backend, Backends

__all__ = ["WORKLOADS", "Inputs", "Shape", "Workload"]

Shape = tuple[int, ...]
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Workload:
    """An op and its inputs.

    Attributes:
        op: The public function.
        backends: Its implementations.
        axes: What the numbers of a shape mean.
        shapes: Device type → shapes to be timed where none is asked for.
        inputs: Makes random inputs of a shape on a device. Tokens have the dtype, parameters are float32, as in the
            mixers under autocast; linear layers' and norms' have the tokens' dtype.
        output_elements: Elements of the output, which has the tokens' dtype.
        exponentials: What the definition takes in a forward pass: a decay for each state and step, or one for each
            element of an activation or an encoding. The softplus of the time steps, one for all states, is left out.
    """

    op: Callable[..., Tensor]
    backends: Backends[Any]
    axes: str
    shapes: dict[str, tuple[Shape, ...]]
    inputs: Callable[[Shape, torch.dtype, torch.device], Inputs]
    output_elements: Callable[[Shape], int]
    exponentials: Callable[[Shape], int]

    def bytes_moved(self, inputs: Inputs, shape: Shape, backward: bool) -> int:
        """Bytes that must be moved at least: inputs read once, outputs written once.

        A backward pass reads the inputs again and the gradient of the output, and writes a gradient of every input.

        Args:
            inputs: Of :attr:`inputs`.
            shape: They were made for it.
            backward: Whether a backward pass follows.
        """
        read = sum(tensor.nbytes for tensor in inputs.values())
        written = self.output_elements(shape) * next(iter(inputs.values())).element_size()
        return 3 * read + 2 * written if backward else read + written


def _scan_parameters(channels: int, states: int, device: torch.device) -> Inputs:
    """As a mixer is initialised: A from -1 to -N, time steps around 0.01 after the softplus."""
    return {
        "A": -torch.arange(1.0, states + 1, device=device).repeat(channels, 1),
        "D": torch.ones(channels, device=device),
        "delta_bias": torch.full((channels,), math.log(math.expm1(0.01)), device=device),
    }


def _selective_scan_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    batch, length, channels, states = shape

    def tokens(width: int) -> Tensor:
        return torch.randn(batch, length, width, dtype=dtype, device=device)

    named = {"u": tokens(channels), "delta": tokens(channels), "B": tokens(states), "C": tokens(states)}
    return named | _scan_parameters(channels, states, device)


def _cross_scan_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    points, length, channels, states = shape

    def tokens(*sizes: int) -> Tensor:
        return torch.randn(points, *sizes, dtype=dtype, device=device)

    named = {"u": tokens(length, channels), "delta": tokens(length, channels)}
    named |= {"B": tokens(length, states), "C": tokens(states)}
    return named | _scan_parameters(channels, states, device)


def _causal_conv1d_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    batch, length, channels, taps = shape
    return {
        "x": torch.randn(batch, length, channels, dtype=dtype, device=device),
        "weight": torch.randn(channels, taps, device=device),
        "bias": torch.randn(channels, device=device),
    }


def _gated_conv3d_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    channels = shape[-1]
    named = {name: torch.randn(1, *shape, dtype=dtype, device=device) for name in ("value", "gate")}
    for half in ("value", "gate"):
        named[f"{half}_weight"] = torch.randn(channels, 1, 3, 3, 3, device=device)
        named[f"{half}_bias"] = torch.randn(channels, device=device)
    return named


def _encoded_sample_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    height, width, points, channels = shape
    count = height * width * points
    return {
        "feature": torch.randn(1, height, width, channels, dtype=dtype, device=device),
        "position": torch.rand(1, count, 2, device=device) * torch.tensor([height, width], device=device),
        "local": torch.rand(1, count, 2, device=device) * 4,
    }


def _norm_linear_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    tokens, channels, columns = shape
    return {
        "x": torch.randn(tokens, channels, dtype=dtype, device=device),
        "norm_weight": torch.ones(channels, dtype=dtype, device=device),
        "norm_bias": torch.zeros(channels, dtype=dtype, device=device),
        "weight": torch.randn(columns, channels, dtype=dtype, device=device),
    }


def _gated_linear_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    tokens, channels, columns = shape
    named = {name: torch.randn(tokens, channels, dtype=dtype, device=device) for name in ("x", "other", "gate")}
    named["residual"] = torch.randn(tokens, columns, dtype=dtype, device=device)
    return named | {"weight": torch.randn(columns, channels, dtype=dtype, device=device)}


def _dca_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    height, width, channels = shape
    with device:
        parameters = {name: p.detach() for name, p in DCA(channels).named_parameters()}
        feature = (1, channels, height, width)
        clip = {"reference": torch.randn(feature, dtype=dtype), "target": torch.randn(feature, dtype=dtype)}
        return clip | {"flow": torch.randn(1, 2, height, width)} | parameters


_OPS_OF_DCA = (causal_conv1d, cross_scan, encoded_sample, gated_linear)


def _dca(backend: str | None, reference: Tensor, target: Tensor, flow: Tensor, **parameters: Tensor) -> Tensor:
    """DCA on the named backends of its ops, and the portable one of an op that has none of this name."""
    half = reference.dtype in (torch.bfloat16, torch.float16)
    with ExitStack() as stack:
        for op in _OPS_OF_DCA if backend else ():
            name = backend if backend in op.BACKENDS.names else "portable"
            stack.enter_context(op.BACKENDS.preferring(name))
        if half:
            stack.enter_context(torch.autocast(reference.device.type, reference.dtype))
        with torch.device("meta"):
            dca = DCA(reference.shape[1])
        return functional_call(dca, parameters, (reference, target, flow)).to(reference.dtype)


def _run_dca(*, backend: str, **inputs: Tensor) -> Tensor:
    return _DCA.choose(backend, inputs["flow"].device.type)(**inputs)


_DCA: Backends[Callable[..., Tensor]] = Backends(
    "dca",
    [
        Backend("best", partial(_dca, None)),
        Backend("portable", partial(_dca, "portable")),
        Backend("naive", partial(_dca, "naive")),
    ],
)

# On CUDA: the mixers' tokens at 180x320 and in training, and the alignment's at 180x320, of the full network.
WORKLOADS = {
    "selective_scan": Workload(
        op=selective_scan.selective_scan,
        backends=selective_scan.BACKENDS,
        axes="batch x tokens x channels x states",
        shapes={"cuda": ((1, 172_800, 224, 16), (8, 12_288, 224, 16)), "cpu": ((1, 4096, 64, 16),)},
        inputs=_selective_scan_inputs,
        output_elements=lambda shape: math.prod(shape[:3]),
        exponentials=math.prod,
    ),
    "cross_scan": Workload(
        op=cross_scan.cross_scan,
        backends=cross_scan.BACKENDS,
        axes="points x tokens x channels x states",
        shapes={"cuda": ((57_600, 9, 224, 16),), "cpu": ((1024, 9, 64, 16),)},
        inputs=_cross_scan_inputs,
        output_elements=lambda shape: shape[0] * shape[2],
        # The last token does not decay.
        exponentials=lambda shape: shape[0] * (shape[1] - 1) * shape[2] * shape[3],
    ),
    "causal_conv1d": Workload(
        op=causal_conv1d.causal_conv1d,
        backends=causal_conv1d.BACKENDS,
        axes="batch x tokens x channels x taps",
        shapes={"cuda": ((1, 172_800, 224, 4), (8, 12_288, 224, 4)), "cpu": ((1, 4096, 64, 4),)},
        inputs=_causal_conv1d_inputs,
        output_elements=lambda shape: math.prod(shape[:3]),
        exponentials=lambda shape: math.prod(shape[:3]),
    ),
    "gated_conv3d": Workload(
        op=gated_conv3d.gated_conv3d,
        backends=gated_conv3d.BACKENDS,
        axes="frames x height x width x channels",
        shapes={"cuda": ((3, 180, 320, 112), (24, 64, 64, 112)), "cpu": ((3, 32, 32, 32),)},
        inputs=_gated_conv3d_inputs,
        output_elements=math.prod,
        exponentials=math.prod,
    ),
    "norm_linear": Workload(
        op=norm_linear.norm_linear,
        backends=norm_linear.BACKENDS,
        axes="tokens x channels x columns",
        shapes={"cuda": ((172_800, 112, 448),), "cpu": ((4096, 32, 128),)},
        inputs=_norm_linear_inputs,
        output_elements=lambda shape: shape[0] * shape[2],
        exponentials=lambda shape: 0,
    ),
    "gated_linear": Workload(
        op=partial(gated_linear.gated_linear, bias=None),
        backends=gated_linear.BACKENDS,
        axes="tokens x channels x columns",
        shapes={"cuda": ((172_800, 224, 112),), "cpu": ((4096, 64, 32),)},
        inputs=_gated_linear_inputs,
        output_elements=lambda shape: shape[0] * shape[2],
        exponentials=lambda shape: shape[0] * shape[1],
    ),
    "encoded_sample": Workload(
        op=partial(encoded_sample.encoded_sample, extent=4.0),
        backends=encoded_sample.BACKENDS,
        axes="height x width x points a pixel x channels",
        shapes={"cuda": ((180, 320, 9, 112),), "cpu": ((32, 32, 9, 32),)},
        inputs=_encoded_sample_inputs,
        output_elements=math.prod,
        exponentials=math.prod,
    ),
    "dca": Workload(
        op=_run_dca,
        backends=_DCA,
        axes="height x width x channels",
        shapes={"cuda": ((180, 320, 112),), "cpu": ((32, 32, 32),)},
        inputs=_dca_inputs,
        output_elements=math.prod,
        # Of the scan over nine points, whose last does not decay; E = 2 C channels of 16 states.
        exponentials=lambda shape: math.prod(shape) * 2 * 16 * 8,
    ),
}
