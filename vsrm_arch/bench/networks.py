"""Networks of option files, timed side by side: the pass without gradient, or the training step."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from basicsr.losses import build_loss
from torch import Tensor

from vsrm_arch.bench.ceilings import Ceilings
from vsrm_arch.bench.macs import Macs, count_macs
from vsrm_arch.bench.network_files import NetworkFile, check_count
from vsrm_arch.bench.timing import Measurement, Run, Spread, gib, measure, times
from vsrm_arch.precision import PRECISIONS, autocast

__all__ = ["NetworkCase", "NetworkRow", "bench_networks"]

_logger = logging.getLogger("basicsr.vsrm_arch")

# Forward, and twice as much backward; what checkpointing computes again does not count.
_PASSES_OF_A_STEP = 3


@dataclass(frozen=True)
class NetworkRow:
    """What was measured of one network at one size in one dtype; None where there is no figure.

    Attributes:
        network: Name of the option file.
        mode: "forward" or "train".
        size: Of the input frames, height x width.
        dtype: "float32", "bf16" or "fp16".
        batch: Clips.
        frames: Of each clip.
        status: "ok", "out of memory" or "failed: ...".
        ms: The median: of a frame, or in mode "train" of a step.
        ms_lower: The lower quartile.
        ms_upper: The upper quartile.
        parameters: Of the network.
        peak_gib: GPU memory with weights and inputs, GiB.
        first_peak_gib: Likewise, of the first run, which may try out algorithms and capture graphs.
        gmac: By the protocol of ``macs.py``, of a frame of an endless clip, the scans left out.
        scan_gop: 9 · tokens · channels · states of that frame's scans, 10^9.
        needed_gmac: ``gmac`` with what the definition repeats counted once.
        matrix_share: Two operations for each multiply-add run, as a share of a large matrix product's rate. In mode
            "train" three times those of the forward pass.
        samples: All times, in the unit of ``ms``.
    """

    network: str
    mode: str
    size: str
    dtype: str
    batch: int
    frames: int
    status: str
    ms: float | None
    ms_lower: float | None
    ms_upper: float | None
    parameters: int
    peak_gib: float | None
    first_peak_gib: float | None
    gmac: float | None
    scan_gop: float | None
    needed_gmac: float | None
    matrix_share: float | None
    samples: tuple[float, ...]


@dataclass(frozen=True)
class NetworkCase:
    """One network at one size in one dtype.

    Attributes:
        file: The network.
        size: Height and width of the input frames.
        dtype: A key of ``PRECISIONS``.
        batch: Clips.
        num_frames: Of each clip.
        train: Whether a run is a training step, with Charbonnier loss and Adam, or a pass without gradient.
        device: Where it runs.
    """

    file: NetworkFile
    size: tuple[int, int]
    dtype: str
    batch: int
    num_frames: int
    train: bool
    device: torch.device
    # A network that runs as graphs makes them itself.
    replayed: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Network, size and dtype."""
        return f"{self.file.name}, {self.size[0]}x{self.size[1]}, {self.dtype}"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """``(B, T, 3, scale·H, scale·W)``."""
        return (self.batch, self.num_frames, 3, *(self.file.scale * side for side in self.size))

    def prepare(self) -> Run:
        """Builds the network and draws a clip."""
        network = self.file.build().to(self.device).train(self.train)
        lq = torch.rand(self.batch, self.num_frames, 3, *self.size, device=self.device)

        def enlarge() -> Tensor:
            with torch.set_grad_enabled(self.train), autocast(self.device, PRECISIONS[self.dtype]):
                output: Tensor = network(lq)
            return output

        if not self.train:
            return enlarge
        parameters = list(network.parameters())
        if not parameters:
            raise ValueError("the network has no parameters to train")
        if self.file.compiled:
            network.compile()
        gt = torch.rand(self.output_shape, device=self.device)
        loss = build_loss({"type": "CharbonnierLoss", "eps": 1e-6})
        # So small a learning rate keeps the weights where they are.
        optimizer = torch.optim.Adam(parameters, lr=1e-6)
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == "fp16")

        def step() -> Tensor:
            optimizer.zero_grad()
            output = enlarge()
            self.check_shape(output)
            scaler.scale(loss(output.float(), gt)).backward()
            scaler.step(optimizer)
            scaler.update()
            return output.detach()

        return step

    def check_shape(self, output: Tensor) -> None:
        """Raises a ValueError if the output has another shape than the enlarged clip."""
        if tuple(output.shape) != self.output_shape:
            raise ValueError(f"the output is {tuple(output.shape)}, expected {self.output_shape}: see the file's scale")

    def check(self, output: Tensor) -> None:
        """Raises a ValueError if the output has another shape, or is not finite."""
        self.check_shape(output)
        if not output.isfinite().all():
            raise ValueError("the output is not finite")


def bench_networks(
    files: Sequence[NetworkFile],
    sizes: Sequence[tuple[int, int]],
    dtypes: Sequence[str],
    ceilings: Ceilings | None,
    *,
    device: torch.device,
    batch: int = 1,
    num_frames: int = 16,
    train: bool = False,
    counted: bool = True,
    repeats: int = 10,
    warmup: int = 2,
) -> list[NetworkRow]:
    """Times networks, all those of one size in turns.

    Args:
        files: The networks.
        sizes: Heights and widths of the input frames.
        dtypes: Keys of ``PRECISIONS``.
        ceilings: Of the device, for each of the dtypes; None: nothing is timed, only counted.
        device: Where they run.
        batch: Clips.
        num_frames: Of each clip.
        train: Whether to time the training step instead of the pass without gradient.
        counted: Whether to count multiply-adds, which takes half a minute or more for a large network.
        repeats: Samples of each.
        warmup: Runs of each before.

    Returns:
        A row for each size, network and dtype, in this order.
    """
    for file in files:
        check_count(file)
    rows = []
    for size in sizes:
        macs = {file.name: _count(file, size, num_frames) if counted else None for file in files}
        cases = [
            NetworkCase(file, size, dtype, batch, num_frames, train, device) for file, dtype in product(files, dtypes)
        ]
        found = measure(cases, device, repeats, warmup) if ceilings else [Measurement() for _ in cases]
        for case, measurement in zip(cases, found, strict=True):
            most = ceilings.flops_per_second[case.dtype] if ceilings else None
            rows.append(_row(case, measurement, macs[case.file.name], most))
    return rows


def _count(file: NetworkFile, size: tuple[int, int], num_frames: int) -> tuple[Macs, Macs] | None:
    _logger.info("%s, %dx%d: counting multiply-adds", file.name, *size)
    try:
        return count_macs(file.build, *size, num_frames)
    except Exception as error:  # a network may ask anything of tensors that have no values
        _logger.warning("%s: its multiply-adds cannot be counted: %s", file.name, str(error).partition("\n")[0])
        return None


def _row(
    case: NetworkCase, measurement: Measurement, macs: tuple[Macs, Macs] | None, flops_per_second: float | None
) -> NetworkRow:
    samples = [sample if case.train else sample / (case.batch * case.num_frames) for sample in measurement.samples]
    frame, clip = macs or (None, None)
    share = None
    if clip and samples and flops_per_second:
        flops = 2 * clip.needed * case.batch * (_PASSES_OF_A_STEP if case.train else 1)
        share = flops / (Spread.of(measurement.samples).median * 1e-3) / flops_per_second
    return NetworkRow(
        network=case.file.name,
        mode="train" if case.train else "forward",
        size=f"{case.size[0]}x{case.size[1]}",
        dtype=case.dtype,
        batch=case.batch,
        frames=case.num_frames,
        status=measurement.failure or "ok",
        parameters=case.file.count_parameters(),
        peak_gib=gib(measurement.peak),
        first_peak_gib=gib(measurement.first_peak),
        gmac=frame.protocol * 1e-9 if frame else None,
        scan_gop=frame.scan * 1e-9 if frame else None,
        needed_gmac=frame.needed * 1e-9 if frame else None,
        matrix_share=share,
        **times(samples),
    )
