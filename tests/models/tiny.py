"""A network and a dataset small enough for tests, registered with BasicSR; options that use them."""

# First: it mends BasicSR before BasicSR is imported.
import vsrm_arch.models  # noqa: F401

# isort: split
from pathlib import Path

import torch
import torch.nn.functional as F
from basicsr.archs.spynet_arch import SpyNet
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY
from torch import nn
from torch.utils.data import Dataset


@ARCH_REGISTRY.register()
class TinyVSR(nn.Module):
    """Nearest enlargement plus two convolutions; optionally with a flow network that sees a corner."""

    def __init__(self, scale: int = 2, channels: int = 4, with_flow: bool = False, spynet_path: str | None = None):
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        self.register_buffer("calls", torch.zeros(()))
        if with_flow:
            self.flow = SpyNet(spynet_path)

    def forward(self, lq):
        if self.training:
            self.calls += 1
        frames = lq.flatten(0, 1)
        residual = F.pixel_shuffle(self.last(torch.relu(self.first(frames))), self.scale)
        if hasattr(self, "flow"):
            corner = frames.repeat(1, 3, 1, 1)[:, :8, :2, :2]
            flows = sum(level(corner) for level in self.flow.basic_module)
            residual = residual + flows.mean(dim=(1, 2, 3), keepdim=True)
        return (F.interpolate(frames, scale_factor=self.scale) + residual).unflatten(0, lq.shape[:2])


@DATASET_REGISTRY.register()
class TinyClips(Dataset):
    """Clips that depend on their number only; ``opt`` tells their number, length, size and shape."""

    def __init__(self, opt):
        self.opt = {"num_clips": 4, "num_frame": 3, "size": 8, "gt": "clip", "nan": [], "offset": 0} | dict(opt)

    def __len__(self):
        return self.opt["num_clips"]

    def __getitem__(self, index):
        number = index + self.opt["offset"]
        generator = torch.Generator().manual_seed(number)
        size = self.opt["size"] * self.opt["scale"]
        gt = torch.rand(self.opt["num_frame"], 3, size, size, generator=generator)
        item = {"lq": F.avg_pool2d(gt, self.opt["scale"]), "key": f"clip{number:03d}", "folder": f"{number:03d}"}
        item["lq_path"] = f"lq/{number:05d}/0001/im4.png"
        if number in self.opt["nan"]:
            item["lq"] = item["lq"] * float("nan")
        if self.opt["gt"] == "clip":
            item["gt"] = gt
        elif self.opt["gt"] == "center":
            item["gt"] = gt[self.opt["num_frame"] // 2]
        return item


def train_options(**train) -> dict:
    return {
        "total_iter": 8,
        "optim_g": {"type": "Adam", "lr": 1e-2, "betas": [0.9, 0.99]},
        "scheduler": {"type": "CosineAnnealingRestartLR", "periods": [8], "restart_weights": [1], "eta_min": 1e-4},
        "pixel_opt": {"type": "CharbonnierLoss", "eps": 1e-6},
        "frequency_opt": {"type": "FrequencyCharbonnierLoss"},
        "ema_decay": 0.5,
    } | train


def file_options(**sections) -> dict:
    """An option file's content."""
    return {
        "name": "tiny",
        "model_type": "RecurrentVSRModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {
            "train": {
                "name": "train",
                "type": "TinyClips",
                "batch_size_per_gpu": 2,
                "num_worker_per_gpu": 0,
                "dataset_enlarge_ratio": 1,
            },
            "val": {"name": "val", "type": "TinyClips", "num_clips": 3, "offset": 100},
        },
        "network_g": {"type": "TinyVSR", "scale": 2},
        "path": {},
        "train": train_options(),
        "val": {"val_freq": 4, "save_img": False, "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0}}},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False},
    } | sections


def model_options(root: Path, is_train: bool = True, **sections) -> dict:
    """What BasicSR's parser makes of :func:`file_options` in a run of one process."""
    opt = file_options(**sections)
    opt |= {"is_train": is_train, "dist": False, "rank": 0, "world_size": 1, "auto_resume": False}
    folder = root / ("experiments" if is_train else "results") / opt["name"]
    names = ("models", "training_states", "visualization")
    opt["path"] = dict(opt["path"]) | {name: str(folder / name) for name in names} | {"experiments_root": str(folder)}
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    return opt


def batch(*numbers: int, **opt) -> dict:
    """Training clips by number, collated."""
    dataset = TinyClips({"num_clips": 1, "scale": 2} | opt)
    return torch.utils.data.default_collate([dataset[number] for number in numbers])
