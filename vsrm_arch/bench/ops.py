"""The implementations of each op, timed side by side: forward, and forward with backward."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from vsrm_arch.bench.ceilings import Ceilings
from vsrm_arch.bench.timing import Measurement, Run, Spread, gib, measure, times
from vsrm_arch.bench.workloads import WORKLOADS, Shape
from vsrm_arch.config.messages import did_you_mean
from vsrm_arch.errors import UserError
from vsrm_arch.precision import DTYPES

__all__ = ["OpCase", "OpRow", "bench_ops"]

# What a backend is compared with: the first of these that was timed.
_REFERENCES = ("mamba_ssm", "causal_conv1d", "portable", "naive")
# Too slow to be of interest, unless it is asked for: the definition, a loop over the tokens.
_LEFT_OUT = ("naive",)
# Gets its tokens as it wants them, so that it is timed without the transposition that the network would pay for.
_CHANNELS_FIRST = ("mamba_ssm",)


@dataclass(frozen=True)
class OpRow:
    """What was measured of one implementation of an op; None where there is no figure.

    Attributes:
        op: Name of the op.
        mode: "forward" or "forward + backward".
        shape: See ``Workload.axes``.
        dtype: Of the tokens: "float32", "bf16" or "fp16".
        backend: Name of the implementation.
        status: "ok", "out of memory" or "failed: ...".
        ms: The median.
        ms_lower: The lower quartile.
        ms_upper: The upper quartile.
        speedup: Over the reference.
        reference: The implementation that it is compared with.
        peak_gib: GPU memory with inputs, GiB.
        first_peak_gib: Likewise, of the first run, which may try out kernels.
        gigabytes: What must be moved at least, 10^9 bytes: inputs read once, outputs written once.
        bandwidth_share: Those bytes / time, as a share of a large copy's rate. Above 1 where caches hold the inputs.
        gigaexp_per_second: Exponentials of the definition / time; with the backward pass, which has no states to
            start from, each counts twice.
        samples: All times, ms.
    """

    op: str
    mode: str
    shape: str
    dtype: str
    backend: str
    status: str
    ms: float | None
    ms_lower: float | None
    ms_upper: float | None
    speedup: float | None
    reference: str | None
    peak_gib: float | None
    first_peak_gib: float | None
    gigabytes: float
    bandwidth_share: float | None
    gigaexp_per_second: float | None
    samples: tuple[float, ...]


@dataclass(frozen=True)
class OpCase:
    """One implementation of an op on one shape.

    Attributes:
        op: A key of ``WORKLOADS``.
        shape: See ``Workload.axes``.
        dtype: A key of ``DTYPES``, of the tokens.
        backend: Name of the implementation.
        backward: Whether a run takes the gradients of all inputs, too.
        device: Where it runs.
        replayed: Whether a GPU replays it as a CUDA graph.
    """

    op: str
    shape: Shape
    dtype: str
    backend: str
    backward: bool
    device: torch.device
    replayed: bool = True

    @property
    def label(self) -> str:
        """Op, shape, dtype and backend."""
        return f"{self.op}, {_joined(self.shape)}, {self.dtype}, {self.backend}"

    def prepare(self) -> Run:
        """Draws the inputs."""
        workload = WORKLOADS[self.op]
        inputs = workload.inputs(self.shape, DTYPES[self.dtype], self.device)
        if self.backend in _CHANNELS_FIRST:
            inputs = {name: t.mT.contiguous().mT if t.dim() == 3 else t for name, t in inputs.items()}

        def forward() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (workload.op(**inputs, backend=self.backend),)

        if not self.backward:
            return forward
        variables = [tensor.requires_grad_() for tensor in inputs.values()]
        grad = torch.randn_like(forward()[0])

        def forward_and_backward() -> tuple[Tensor, ...]:
            output = workload.op(**inputs, backend=self.backend)
            return (output.detach(), *torch.autograd.grad(output, variables, grad))

        return forward_and_backward

    def check(self, output: tuple[Tensor, ...]) -> None:
        """Raises a ValueError if the output has another size, or it or a gradient is not finite."""
        expected = WORKLOADS[self.op].output_elements(self.shape)
        if output[0].numel() != expected:
            raise ValueError(f"the output has {output[0].numel()} elements, expected {expected}")
        if not all(tensor.isfinite().all() for tensor in output):
            raise ValueError("the output or a gradient is not finite")

    def bytes_moved(self) -> int:
        """What must be moved at least; needs no memory."""
        inputs = WORKLOADS[self.op].inputs(self.shape, DTYPES[self.dtype], torch.device("meta"))
        return WORKLOADS[self.op].bytes_moved(inputs, self.shape, self.backward)

    def exponentials(self) -> int:
        """What the definition takes; twice that with a backward pass."""
        return WORKLOADS[self.op].exponentials(self.shape) * (2 if self.backward else 1)


def bench_ops(
    ops: Sequence[str],
    shape: Shape | None,
    dtypes: Sequence[str],
    ceilings: Ceilings,
    *,
    device: torch.device,
    backends: Sequence[str] = (),
    reference: str | None = None,
    replayed: bool = True,
    repeats: int = 20,
    warmup: int = 3,
) -> list[OpRow]:
    """Times the implementations of ops, those of one shape in turns.

    Args:
        ops: Keys of ``WORKLOADS``.
        shape: In place of the default ones.
        dtypes: Keys of ``DTYPES``.
        ceilings: Of the device.
        device: Where they run.
        backends: The implementations; none: all that can run there, but for the definition.
        reference: Implementation to compare with; None: the CUDA package where it was timed, else the portable one.
        replayed: Whether a GPU replays each as a CUDA graph, which leaves out the time of launching.
        repeats: Samples of each.
        warmup: Runs of each before.

    Returns:
        A row for each op, shape, pass, dtype and implementation, in this order.

    Raises:
        UserError: If a name is unknown.
    """
    rows = []
    for op in ops:
        names = _names(op, device, backends)
        for size, backward in product([shape] if shape else WORKLOADS[op].shapes[device.type], (False, True)):
            cases = [
                OpCase(op, size, dtype, name, backward, device, replayed) for dtype, name in product(dtypes, names)
            ]
            found = measure(cases, device, repeats, warmup)
            timed = [_row(case, m, ceilings.bytes_per_second) for case, m in zip(cases, found, strict=True)]
            rows += [_compared(row, timed, reference) for row in timed]
    return rows


def _names(op: str, device: torch.device, backends: Sequence[str]) -> list[str]:
    infos = WORKLOADS[op].backends.describe(device.type)
    if not backends:
        return [info.backend for info in infos if info.available and info.backend not in _LEFT_OUT]
    known = WORKLOADS[op].backends.names
    unknown = [name for name in backends if name not in known]
    if unknown:
        raise UserError(f"--backend {unknown[0]}: {op} has no such backend; {did_you_mean(unknown[0], known)}")
    return list(backends)


def _row(case: OpCase, measurement: Measurement, bytes_per_second: float) -> OpRow:
    spread = Spread.of(measurement.samples) if measurement.samples else None
    moved = case.bytes_moved()
    return OpRow(
        op=case.op,
        mode="forward + backward" if case.backward else "forward",
        shape=_joined(case.shape),
        dtype=case.dtype,
        backend=case.backend,
        status=measurement.failure or "ok",
        speedup=None,
        reference=None,
        peak_gib=gib(measurement.peak),
        first_peak_gib=gib(measurement.first_peak),
        gigabytes=moved * 1e-9,
        bandwidth_share=moved / (spread.median * 1e-3) / bytes_per_second if spread else None,
        gigaexp_per_second=case.exponentials() * 1e-6 / spread.median if spread else None,
        **times(measurement.samples),
    )


def _compared(row: OpRow, rows: Sequence[OpRow], reference: str | None) -> OpRow:
    """The row with its speed-up over the reference in the same dtype."""
    times = {other.backend: other.ms for other in rows if other.dtype == row.dtype and other.ms is not None}
    name = next((name for name in ([reference] if reference else _REFERENCES) if name in times), None)
    if name is None or row.ms is None:
        return row
    return replace(row, reference=name, speedup=times[name] / row.ms)


def _joined(shape: Shape) -> str:
    return "x".join(map(str, shape))
