"""Films enlarged: what reading, writing and moving frames add to the network, and the memory over a film's length."""

import logging
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray

from vsrm_arch.bench.timing import Measurement, Run, gib, measure, times
from vsrm_arch.errors import UserError
from vsrm_arch.inference.fitting import Pieces
from vsrm_arch.inference.loading import LoadedNetwork
from vsrm_arch.inference.spans import spans
from vsrm_arch.inference.streaming import Upscaler, film_windows
from vsrm_arch.precision import PRECISIONS
from vsrm_arch.sizes import SizeRequirements, pad_to
from vsrm_arch.upscaling import Run as FilmRun
from vsrm_arch.upscaling import Settings, find_films
from vsrm_arch.video import VideoFile

__all__ = ["STAGES", "FilmCase", "FilmRow", "bench_films"]

Image = NDArray[Any]

_logger = logging.getLogger("basicsr.vsrm_arch")

# Each does what the one before does, and more: the passes alone, their clips ready on the device; what `upscale` adds,
# from arrays to arrays; reading, writing and what else `basicsr upscale` does.
STAGES = ("network", "frames in memory", "whole command")
_SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class FilmRow:
    """What was measured of one stage of one film in one dtype; None where there is no figure.

    Attributes:
        film: Name of the film's file.
        size: Of its frames, height x width.
        frames: Number of them.
        dtype: "float32", "bf16" or "fp16".
        window: Frames in a window.
        tile: Side of a tile; None: whole frames.
        stage: One of ``STAGES``.
        status: "ok", "out of memory" or "failed: ...".
        ms: The median, of a frame.
        ms_lower: The lower quartile.
        ms_upper: The upper quartile.
        over_network: ``ms`` over that of the first stage, less 1; None for that itself.
        peak_gib: GPU memory beyond the weights, GiB.
        main_gib: Main memory of the process at most, GiB.
        samples: All times, of a frame.
    """

    film: str
    size: str
    frames: int
    dtype: str
    window: int
    tile: int | None
    stage: str
    status: str
    ms: float | None
    ms_lower: float | None
    ms_upper: float | None
    over_network: float | None
    peak_gib: float | None
    main_gib: float | None
    samples: tuple[float, ...]


@dataclass
class FilmCase:
    """One stage of one film in one dtype.

    Attributes:
        stage: One of ``STAGES``.
        run: Of the film, by the whole command.
        pieces: Windows and tiles.
        upscaler: The network in that precision.
        dtype: A key of ``PRECISIONS``.
        requirements: Frame sizes that the network takes.
        main_memory: The most bytes of main memory that a run held; filled in by the runs.
    """

    stage: str
    run: FilmRun
    pieces: Pieces
    upscaler: Upscaler
    dtype: str
    requirements: SizeRequirements
    main_memory: int = 0
    # What the network replays, it records itself.
    replayed: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Film, dtype and stage."""
        return f"{self.run.film.source.path.name}, {self.dtype}, {self.stage}"

    def prepare(self) -> Run:
        """Reads the film, unless that belongs to what is timed."""
        run = {STAGES[0]: self._network, STAGES[1]: self._frames, STAGES[2]: lambda: self.run.enlarge}[self.stage]()
        return partial(self._watched, run)

    def check(self, output: Any) -> None:
        """Raises a ValueError if a run has lost frames."""
        if isinstance(output, Path):
            output = VideoFile.look_at(output).length
        if output != self.run.film.source.length:
            raise ValueError(f"{output} frames of {self.run.film.source.length}")

    def _images(self) -> list[Image]:
        return [image for image, _ in self.run.film.source.frames()]

    def _network(self) -> Run:
        windows = list(film_windows(self._images(), self.pieces))
        size, tile = self.run.film.source.size, self.pieces.tile or max(self.run.film.source.size)
        rows, columns = (spans(side, tile, self.pieces.tile_overlap, "tile (size, overlap)") for side in size)
        clips = [torch.rand(1, len(window.frames), 3, *size, device=self.upscaler.device) for window in windows]

        def run() -> int:
            for clip in clips:
                for (top, bottom), (left, right) in product(rows, columns):
                    self.upscaler.enlarge(pad_to(clip[..., top:bottom, left:right], self.requirements))
            return sum(window.stop - window.start for window in windows)

        return run

    def _frames(self) -> Run:
        images = self._images()
        return lambda: sum(1 for _ in self.upscaler(images, pieces=self.pieces))

    def _watched(self, run: Run) -> Any:
        begin = perf_counter()
        with self._main_memory_seen():
            output = run()
        if self.upscaler.device.type == "cuda":
            torch.cuda.synchronize()
        # What is stopped before its end has told something still.
        _logger.info("%s: %.2f s", self.label, perf_counter() - begin)
        return output

    @contextmanager
    def _main_memory_seen(self) -> Iterator[None]:
        """Looks at the process's main memory time and again within a block."""
        import psutil

        process, done = psutil.Process(), threading.Event()

        def watch() -> None:
            while True:
                self.main_memory = max(self.main_memory, process.memory_info().rss)
                if done.wait(_SECONDS_BETWEEN_LOOKS):
                    return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def bench_films(
    paths: Sequence[Path],
    loaded: LoadedNetwork,
    dtypes: Sequence[str],
    *,
    device: torch.device,
    window: int | None = None,
    tile: int | None = None,
    stages: Sequence[str] = STAGES,
    repeats: int = 3,
    warmup: int = 0,
) -> list[FilmRow]:
    """Times the enlargement of films, stage by stage in turns, one film and dtype after the other.

    What is chosen for a film, windows and tiles, is chosen before, and its time goes to the log.

    Args:
        paths: Video files.
        loaded: The network, on the device.
        dtypes: Keys of ``PRECISIONS``.
        device: Where it runs.
        window: Frames in one pass; None: what fits.
        tile: Side of a tile; 0: whole frames; None: what fits.
        stages: Of ``STAGES``.
        repeats: Samples of each.
        warmup: Runs of each before, after the one that is checked.

    Returns:
        A row for each film, dtype and stage, in this order.

    Raises:
        UserError: If a film cannot be read.
    """
    rows: list[FilmRow] = []
    with tempfile.TemporaryDirectory(prefix="vsrm_bench_") as folder:
        films = find_films([str(path) for path in paths], Path(folder), loaded.scale)
        for film in films:
            if not isinstance(film.source, VideoFile):
                raise UserError(
                    f"{film.source.path} is no video; make one of its frames first: basicsr upscale FOLDER -o FILM.mp4"
                )
            for dtype in dtypes:
                upscaler = Upscaler(loaded.network, loaded.scale, PRECISIONS[dtype], window, tile)
                run = FilmRun(film, upscaler, Settings("bench", force=True))
                begin = perf_counter()
                pieces = run.pieces()
                took = perf_counter() - begin
                _logger.info("%s, %s: %s, chosen in %.1f s", film.source.path.name, dtype, pieces, took)
                upscaler.window, upscaler.tile = pieces.window, pieces.tile or 0
                cases = [FilmCase(stage, run, pieces, upscaler, dtype, loaded.requirements) for stage in stages]
                rows += _rows(cases, measure(cases, device, repeats, warmup))
    return rows


def _rows(cases: Sequence[FilmCase], measurements: Sequence[Measurement]) -> list[FilmRow]:
    rows = [_row(case, measurement) for case, measurement in zip(cases, measurements, strict=True)]
    alone = next((row.ms for row in rows if row.stage == STAGES[0]), None)
    return [
        replace(row, over_network=row.ms / alone - 1) if row.ms and alone and row.stage != STAGES[0] else row
        for row in rows
    ]


def _row(case: FilmCase, measurement: Measurement) -> FilmRow:
    source, pieces = case.run.film.source, case.pieces
    samples = [sample / source.length for sample in measurement.samples]
    return FilmRow(
        film=source.path.name,
        size=f"{source.size[0]}x{source.size[1]}",
        frames=source.length,
        dtype=case.dtype,
        window=pieces.window,
        tile=pieces.tile,
        stage=case.stage,
        status=measurement.failure or "ok",
        over_network=None,
        peak_gib=gib(measurement.peak),
        main_gib=gib(case.main_memory),
        **times(samples),
    )
