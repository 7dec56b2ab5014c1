"""The typed option file that RecurrentVSRModel accepts: every key, its type, its default, its meaning."""

from dataclasses import dataclass
from typing import Any, Literal

from vsrm_arch.config import option
from vsrm_arch.metrics.traits import takes_clips
from vsrm_arch.precision import Precision

__all__ = [
    "DistOptions",
    "LoggerOptions",
    "OptimizerOptions",
    "PathOptions",
    "RecurrentVSROptions",
    "SchedulerOptions",
    "TileOptions",
    "TrainOptions",
    "ValOptions",
    "WandbOptions",
    "WindowOptions",
]


def _check(holds: bool, message: str) -> None:
    """The reader of the option file puts the section's name before the message."""
    if not holds:
        raise ValueError(message)


@dataclass(frozen=True)
class OptimizerOptions:
    """``train: optim_g``."""

    type: Literal["Adam", "AdamW"] = option("optimiser")
    lr: float = option("learning rate at the start of the schedule")
    betas: tuple[float, float] = option("decay of the running means of the gradient and of its square", (0.9, 0.99))
    weight_decay: float = option("weight decay", 0.0)
    eps: float = option("added to the denominator", 1e-8)


@dataclass(frozen=True)
class SchedulerOptions:
    """``train: scheduler``. Which keys apply depends on the type."""

    type: Literal["CosineAnnealingRestartLR", "MultiStepLR", "MultiStepRestartLR"] = option("schedule")
    periods: list[int] = option("cosine: iterations of each period; together at least total_iter", [])
    restart_weights: list[float] = option("cosine and restarts: factor on the learning rate, one a period", [1.0])
    eta_min: float = option("cosine: learning rate at the end of a period", 0.0)
    milestones: list[int] = option("multi-step: iterations after which the learning rate is multiplied by gamma", [])
    gamma: float = option("multi-step: factor at each milestone", 0.1)
    restarts: list[int] = option("multi-step: iterations at which the schedule starts again", [0])

    def __post_init__(self) -> None:
        name = "periods" if self.type == "CosineAnnealingRestartLR" else "restarts"
        count, weights = len(getattr(self, name)), len(self.restart_weights)
        _check(count == weights, f"restart_weights has {weights} entries and {name} has {count}; give one for each")


@dataclass(frozen=True)
class TrainOptions:
    """``train``."""

    total_iter: int = option("iterations")
    optim_g: OptimizerOptions = option("optimiser")
    scheduler: SchedulerOptions = option("learning rate over the iterations")
    pixel_opt: dict[str, Any] | None = option("loss in pixels: a registered loss and its arguments", None)
    frequency_opt: dict[str, Any] | None = option("loss in frequencies: a registered loss and its arguments", None)
    warmup_iter: int = option("iterations over which the learning rate rises linearly from zero; -1: none", -1)
    ema_decay: float = option("decay of the moving average of the weights, which is validated and tested; 0: none", 0.0)
    fix_flow: int = option("iterations at the start during which the flow network is frozen", 0)
    flow_lr_mul: float = option("factor on the flow network's learning rate", 1.0)
    grad_clip: float | None = option("largest norm of the gradient; null: not clipped", None)
    amp: Precision = option("mixed precision: off, bf16 or fp16", "off")
    compile: bool = option("whether to run the network through torch.compile", False)
    accumulate: int = option("parts into which each process splits its batch, to save memory", 1)

    def __post_init__(self) -> None:
        periods = self.scheduler.periods
        covers = self.scheduler.type != "CosineAnnealingRestartLR" or sum(periods) >= self.total_iter
        _check(self.total_iter >= 1, f"total_iter is {self.total_iter}; it must be at least 1")
        _check(
            covers,
            f"scheduler.periods add up to {sum(periods)}, fewer than the {self.total_iter} of total_iter; raise them",
        )
        _check(
            bool(self.pixel_opt or self.frequency_opt), "neither pixel_opt nor frequency_opt is set; a loss is needed"
        )
        _check(0 <= self.ema_decay < 1, f"ema_decay is {self.ema_decay}; it must be at least 0 and below 1")
        _check(
            self.grad_clip is None or self.grad_clip > 0, f"grad_clip is {self.grad_clip}; give a norm above 0, or null"
        )
        _check(self.accumulate >= 1, f"accumulate is {self.accumulate}; it must be at least 1")


@dataclass(frozen=True)
class WindowOptions:
    """``val: window``."""

    num_frame: int = option("frames in one pass")
    overlap: int = option("frames that neighbouring passes share; each frame is taken where it lies deeper", 0)

    def __post_init__(self) -> None:
        _check(
            0 <= self.overlap < self.num_frame,
            f"overlap is {self.overlap}; it must be at least 0 and below num_frame, {self.num_frame}",
        )


@dataclass(frozen=True)
class TileOptions:
    """``val: tile``."""

    size: int = option("side of a tile, in LR pixels")
    overlap: int = option("LR pixels over which neighbouring tiles are cross-faded", 0)

    def __post_init__(self) -> None:
        _check(
            0 <= self.overlap < self.size,
            f"overlap is {self.overlap}; it must be at least 0 and below size, {self.size}",
        )


@dataclass(frozen=True)
class ValOptions:
    """``val``."""

    val_freq: int = option("iterations between validations", 5000)
    save_img: bool = option("whether to save the enlarged frames", False)
    suffix: str | None = option(
        "ending of the saved frames' names; null: the iteration, or the experiment's name", None
    )
    metrics: dict[str, dict[str, Any]] | None = option("name → a registered metric and its arguments", None)
    pbar: bool = option("whether to show a progress bar (on a terminal only)", True)
    flip_seq: bool = option("whether to run each clip with its mirror in time and to average the two outputs", False)
    center_frame_only: bool = option("whether only the centre frame of each clip counts (Vimeo-90K)", False)
    window: WindowOptions | None = option("passes over parts of a clip in time; null: the whole clip", None)
    tile: TileOptions | None = option("passes over parts of the frames; null: whole frames", None)
    amp: Precision = option("mixed precision of the network: off, bf16 or fp16", "off")
    compare_bicubic: bool = option("whether to report bicubic enlargement's metrics beside the network's", False)
    save_comparison: bool = option("whether to save a picture bicubic | ours | truth of a frame of each clip", False)
    comparison_frame: int | None = option("the frame of that picture, counted from 0; null: the centre frame", None)

    def __post_init__(self) -> None:
        _check(self.val_freq >= 1, f"val_freq is {self.val_freq}; it must be at least 1")
        for name, metric in (self.metrics or {}).items():
            _check(
                not (self.center_frame_only and takes_clips(metric)),
                f"metrics.{name} compares neighbouring frames, and center_frame_only keeps one of each clip; leave one "
                "of the two out",
            )


@dataclass(frozen=True)
class PathOptions:
    """``path``."""

    pretrain_network_g: str | None = option("network file to start from or to test", None)
    param_key_g: str | None = option(
        "weights to take from it: params, params_ema, null (the file is the weights) or auto "
        "(training: params; testing: params_ema where there are any)",
        "auto",
    )
    strict_load_g: bool = option("whether the file must fit the network exactly", True)
    resume_state: str | None = option("training state to go on from", None)
    ignore_resume_networks: list[str] | None = option("networks not to be loaded when resuming: [network_g]", None)


@dataclass(frozen=True)
class WandbOptions:
    """``logger: wandb``."""

    project: str | None = option("Weights & Biases project; null: off", None)
    resume_id: str | None = option("run to go on with", None)


@dataclass(frozen=True)
class LoggerOptions:
    """``logger``."""

    print_freq: int = option("iterations between lines of the log", 100)
    save_checkpoint_freq: int = option("iterations between checkpoints", 5000)
    keep_checkpoints: int | None = option("how many of the newest checkpoints to keep; null: all", None)
    use_tb_logger: bool = option("whether to log to TensorBoard", False)
    wandb: WandbOptions | None = option("Weights & Biases (needs use_tb_logger)", None)

    def __post_init__(self) -> None:
        for name in ("print_freq", "save_checkpoint_freq"):
            _check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        _check(
            self.keep_checkpoints is None or self.keep_checkpoints >= 1,
            f"keep_checkpoints is {self.keep_checkpoints}; keep at least 1, or null for all",
        )


@dataclass(frozen=True)
class DistOptions:
    """``dist_params``."""

    backend: Literal["nccl", "gloo"] = option("of torch.distributed; without CUDA gloo takes nccl's place", "nccl")
    port: int | None = option("Slurm: port of the first process; null: MASTER_PORT, else 29500", None)


@dataclass(frozen=True)
class RecurrentVSROptions:
    """The whole option file."""

    name: str = option("the experiment's name: its folder under experiments/ or results/")
    model_type: str = option("RecurrentVSRModel")
    scale: int = option("enlargement")
    num_gpu: int | Literal["auto"] = option("0: CPU; auto: a GPU if there is one; a launcher: one a process")
    datasets: dict[str, Any] = option("train, val, val_2, …; for a test any names")
    network_g: dict[str, Any] = option("a registered network and its arguments")
    path: PathOptions = option("files to start from")
    manual_seed: int | None = option("seed; null: random", None)
    deterministic: bool = option("whether the same run gives the same numbers on a GPU as well; slower", False)
    find_unused_parameters: bool = option("distributed: whether some parameters may get no gradient", False)
    train: TrainOptions | None = option("training", None)
    val: ValOptions | None = option("validation and test", None)
    logger: LoggerOptions | None = option("log and checkpoints", None)
    dist_params: DistOptions | None = option("how the processes of a distributed run meet", None)
