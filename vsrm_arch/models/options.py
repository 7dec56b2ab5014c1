"""The typed option file that RecurrentVSRModel accepts: every key, its type, its default, its meaning."""

# The defaults below are dataclasses.field objects, which RUF009 does not see.
# ruff: noqa: RUF009

from dataclasses import dataclass, field
from typing import Any, Literal

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

# YAML 1.1 reads a bare `off` as the boolean false.
Precision = Literal[False, "off", "bf16", "fp16"]


def _key(help: str, default: Any = None) -> Any:
    """An optional key: its meaning and its default, copied for every file if it is mutable."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


def _required(help: str) -> Any:
    """A key without a default."""
    return field(metadata={"help": help})


def _check(holds: bool, message: str) -> None:
    """The reader of the option file puts the section's name before the message."""
    if not holds:
        raise ValueError(message)


@dataclass(frozen=True)
class OptimizerOptions:
    """``train: optim_g``."""

    type: Literal["Adam", "AdamW"] = _required("optimiser")
    lr: float = _required("learning rate at the start of the schedule")
    betas: tuple[float, float] = _key("decay of the running means of the gradient and of its square", (0.9, 0.99))
    weight_decay: float = _key("weight decay", 0.0)
    eps: float = _key("added to the denominator", 1e-8)


@dataclass(frozen=True)
class SchedulerOptions:
    """``train: scheduler``. Which keys apply depends on the type."""

    type: Literal["CosineAnnealingRestartLR", "MultiStepLR", "MultiStepRestartLR"] = _required("schedule")
    periods: list[int] = _key("cosine: iterations of each period; together at least total_iter", [])
    restart_weights: list[float] = _key("cosine and restarts: factor on the learning rate, one a period", [1.0])
    eta_min: float = _key("cosine: learning rate at the end of a period", 0.0)
    milestones: list[int] = _key("multi-step: iterations after which the learning rate is multiplied by gamma", [])
    gamma: float = _key("multi-step: factor at each milestone", 0.1)
    restarts: list[int] = _key("multi-step: iterations at which the schedule starts again", [0])

    def __post_init__(self) -> None:
        name = "periods" if self.type == "CosineAnnealingRestartLR" else "restarts"
        count, weights = len(getattr(self, name)), len(self.restart_weights)
        _check(count == weights, f"restart_weights has {weights} entries and {name} has {count}; give one for each")


@dataclass(frozen=True)
class TrainOptions:
    """``train``."""

    total_iter: int = _required("iterations")
    optim_g: OptimizerOptions = _required("optimiser")
    scheduler: SchedulerOptions = _required("learning rate over the iterations")
    pixel_opt: dict[str, Any] | None = _key("loss in pixels: a registered loss and its arguments")
    frequency_opt: dict[str, Any] | None = _key("loss in frequencies: a registered loss and its arguments")
    warmup_iter: int = _key("iterations over which the learning rate rises linearly from zero; -1: none", -1)
    ema_decay: float = _key("decay of the moving average of the weights, which is validated and tested; 0: none", 0.0)
    fix_flow: int = _key("iterations at the start during which the flow network is frozen", 0)
    flow_lr_mul: float = _key("factor on the flow network's learning rate", 1.0)
    grad_clip: float | None = _key("largest norm of the gradient; null: not clipped")
    amp: Precision = _key("mixed precision: off, bf16 or fp16", "off")
    compile: bool = _key("whether to run the network through torch.compile", False)
    accumulate: int = _key("parts into which each process splits its batch, to save memory", 1)

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
            self.grad_clip is None or self.grad_clip > 0, f"grad_clip is {self.grad_clip}; give a norm above 0, or ~"
        )
        _check(self.accumulate >= 1, f"accumulate is {self.accumulate}; it must be at least 1")


@dataclass(frozen=True)
class WindowOptions:
    """``val: window``."""

    num_frame: int = _required("frames in one pass")
    overlap: int = _key("frames that neighbouring passes share; each frame is taken where it lies deeper", 0)

    def __post_init__(self) -> None:
        _check(
            0 <= self.overlap < self.num_frame,
            f"overlap is {self.overlap}; it must be at least 0 and below num_frame, {self.num_frame}",
        )


@dataclass(frozen=True)
class TileOptions:
    """``val: tile``."""

    size: int = _required("side of a tile, in LR pixels")
    overlap: int = _key("LR pixels over which neighbouring tiles are cross-faded", 0)

    def __post_init__(self) -> None:
        _check(
            0 <= self.overlap < self.size,
            f"overlap is {self.overlap}; it must be at least 0 and below size, {self.size}",
        )


@dataclass(frozen=True)
class ValOptions:
    """``val``."""

    val_freq: int = _key("iterations between validations", 5000)
    save_img: bool = _key("whether to save the enlarged frames", False)
    suffix: str | None = _key("ending of the saved frames' names; null: the iteration, or the experiment's name")
    metrics: dict[str, dict[str, Any]] | None = _key("name → a registered metric and its arguments")
    pbar: bool = _key("whether to show a progress bar (on a terminal only)", True)
    flip_seq: bool = _key("whether to run each clip with its mirror in time and to average the two outputs", False)
    center_frame_only: bool = _key("whether only the centre frame of each clip counts (Vimeo-90K)", False)
    window: WindowOptions | None = _key("passes over parts of a clip in time; null: the whole clip")
    tile: TileOptions | None = _key("passes over parts of the frames; null: whole frames")
    amp: Precision = _key("mixed precision of the network: off, bf16 or fp16", "off")
    compare_bicubic: bool = _key("whether to report bicubic enlargement's metrics beside the network's", False)
    save_comparison: bool = _key("whether to save a picture bicubic | ours | truth of a frame of each clip", False)
    comparison_frame: int | None = _key("the frame of that picture, counted from 0; null: the centre frame")

    def __post_init__(self) -> None:
        _check(self.val_freq >= 1, f"val_freq is {self.val_freq}; it must be at least 1")


@dataclass(frozen=True)
class PathOptions:
    """``path``."""

    pretrain_network_g: str | None = _key("network file to start from or to test")
    param_key_g: str | None = _key(
        "weights to take from it: params, params_ema, null (the file is the weights) or auto "
        "(training: params; testing: params_ema where there are any)",
        "auto",
    )
    strict_load_g: bool = _key("whether the file must fit the network exactly", True)
    resume_state: str | None = _key("training state to go on from")
    ignore_resume_networks: list[str] | None = _key("networks not to be loaded when resuming: [network_g]")


@dataclass(frozen=True)
class WandbOptions:
    """``logger: wandb``."""

    project: str | None = _key("Weights & Biases project; null: off")
    resume_id: str | None = _key("run to go on with")


@dataclass(frozen=True)
class LoggerOptions:
    """``logger``."""

    print_freq: int = _key("iterations between lines of the log", 100)
    save_checkpoint_freq: int = _key("iterations between checkpoints", 5000)
    keep_checkpoints: int | None = _key("how many of the newest checkpoints to keep; null: all")
    use_tb_logger: bool = _key("whether to log to TensorBoard", False)
    wandb: WandbOptions | None = _key("Weights & Biases (needs use_tb_logger)")

    def __post_init__(self) -> None:
        for name in ("print_freq", "save_checkpoint_freq"):
            _check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        _check(
            self.keep_checkpoints is None or self.keep_checkpoints >= 1,
            f"keep_checkpoints is {self.keep_checkpoints}; keep at least 1, or ~ for all",
        )


@dataclass(frozen=True)
class DistOptions:
    """``dist_params``."""

    backend: Literal["nccl", "gloo"] = _key("of torch.distributed; without CUDA gloo takes nccl's place", "nccl")
    port: int | None = _key("Slurm: port of the first process; null: MASTER_PORT, else 29500")


@dataclass(frozen=True)
class RecurrentVSROptions:
    """The whole option file."""

    name: str = _required("the experiment's name: its folder under experiments/ or results/")
    model_type: str = _required("RecurrentVSRModel")
    scale: int = _required("enlargement")
    num_gpu: int | Literal["auto"] = _required("0: CPU; auto: a GPU if there is one; a launcher: one a process")
    datasets: dict[str, Any] = _required("train, val, val_2, …; for a test any names")
    network_g: dict[str, Any] = _required("a registered network and its arguments")
    path: PathOptions = _required("files to start from")
    manual_seed: int | None = _key("seed; null: random")
    find_unused_parameters: bool = _key("distributed: whether some parameters may get no gradient", False)
    train: TrainOptions | None = _key("training")
    val: ValOptions | None = _key("validation and test")
    logger: LoggerOptions | None = _key("log and checkpoints")
    dist_params: DistOptions | None = _key("how the processes of a distributed run meet")
