"""Small registered classes, and a valid option file made of them."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest
import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY


@dataclass(frozen=True)
class DummyClipOptions:
    name: str
    type: Literal["DummyClips"]
    phase: Literal["train", "val", "test"]
    scale: int
    dataroot_gt: str | None = None
    gt_size: int = 64
    batch_size_per_gpu: int = 1
    num_worker_per_gpu: int = 0
    persistent_workers: bool = False


@DATASET_REGISTRY.register()
class DummyClips:
    Options: ClassVar[type] = DummyClipOptions


@ARCH_REGISTRY.register()
class DummyNetwork:
    def __init__(self, dim: int, scale: Literal[2, 4] = 4, spynet_path: str | None = None) -> None:
        pass


@LOSS_REGISTRY.register()
class DummyLoss:
    def __init__(self, loss_weight: float = 1.0) -> None:
        pass


@METRIC_REGISTRY.register()
def dummy_metric(img, img2, crop_border: int, test_y_channel: bool = False):
    pass


@dataclass(frozen=True)
class DummyWindow:
    num_frame: int
    overlap: int = 0


@dataclass(frozen=True)
class DummyTrain:
    total_iter: int = field(metadata={"help": "iterations"})
    ema_decay: float = 0.0
    pixel_opt: dict[str, Any] | None = None


@dataclass(frozen=True)
class DummyVal:
    val_freq: int = 5000
    save_img: bool = False
    metrics: dict[str, dict[str, Any]] | None = None
    window: DummyWindow | None = None


@dataclass(frozen=True)
class DummyLogger:
    print_freq: int = 100
    save_checkpoint_freq: int = 5000
    use_tb_logger: bool = False


@dataclass(frozen=True)
class DummyPath:
    pretrain_network_g: str | None = None
    resume_state: str | None = None


@dataclass(frozen=True)
class DummyOptions:
    name: str
    model_type: str
    scale: int
    num_gpu: int | Literal["auto"]
    datasets: dict[str, Any]
    network_g: dict[str, Any]
    path: DummyPath
    manual_seed: int | None = None
    train: DummyTrain | None = None
    val: DummyVal | None = None
    logger: DummyLogger | None = None
    dist_params: dict[str, Any] | None = None


@MODEL_REGISTRY.register()
class DummyModel:
    Options: ClassVar[type] = DummyOptions


@pytest.fixture
def options():
    """A valid option file for training."""
    return {
        "name": "trial",
        "model_type": "DummyModel",
        "scale": 4,
        "num_gpu": "auto",
        "manual_seed": 3,
        "datasets": {
            "train": {"name": "Clips", "type": "DummyClips", "dataroot_gt": "~/clips"},
            "val": {"name": "Held out", "type": "DummyClips"},
        },
        "network_g": {"type": "DummyNetwork", "dim": 8},
        "path": {"pretrain_network_g": None},
        "train": {"total_iter": 100, "pixel_opt": {"type": "DummyLoss", "loss_weight": 1}},
        "val": {"val_freq": 50, "metrics": {"psnr": {"type": "dummy_metric", "crop_border": 0, "better": "higher"}}},
    }


@pytest.fixture
def stock_options():
    """A valid option file for training with stock classes, which have no structures."""
    return {
        "name": "trial",
        "model_type": "SRModel",
        "scale": 4,
        "num_gpu": 0,
        "datasets": {
            "train": {
                "name": "Pairs",
                "type": "PairedImageDataset",
                "dataroot_gt": "gt",
                "dataroot_lq": "lq",
                "batch_size_per_gpu": 1,
                "num_worker_per_gpu": 0,
            }
        },
        "network_g": {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3},
        "path": {},
        "train": {"total_iter": 2, "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0}},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False},
    }


@pytest.fixture
def write_options(tmp_path):
    """Writes an option file, returns its path."""

    def write(options, name="a.yml"):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(options))
        return str(path)

    return write
