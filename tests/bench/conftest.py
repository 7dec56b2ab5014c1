import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from vsrm_arch.bench.ceilings import Ceilings

CPU = torch.device("cpu")


@ARCH_REGISTRY.register()
class Doubling(nn.Module):
    """Enlarges twice by a convolution; may fail in each of the ways that a network can."""

    def __init__(self, fault: str | None = None, after: int = 0, width: int = 1, spynet_path: str | None = None):
        super().__init__()
        assert spynet_path is None, "weights are not to be loaded"
        self.fault, self.after, self.runs = fault, after, 0
        self.conv = nn.Conv2d(3, 12 * width, 3, padding=1)
        self.fuse = nn.Conv2d(12 * width, 12, 1)

    def forward(self, lq):
        self.runs += 1
        if self.runs > self.after and self.fault == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")
        if self.runs > self.after and self.fault == "error":
            raise RuntimeError("sides must be even\nmore")
        out = nn.functional.pixel_shuffle(self.fuse(self.conv(lq.flatten(0, 1))), 2).unflatten(0, lq.shape[:2])
        return out * float("nan") if self.fault == "nan" else out[:, 1:] if self.fault == "shape" else out


@pytest.fixture
def ceilings():
    return Ceilings(bytes_per_second=1e9, flops_per_second={"float32": 1e12, "bf16": 2e12, "fp16": 2e12})


@pytest.fixture
def option_file(tmp_path):
    """Writes an option file with a network; returns its path."""

    def write(name="tiny", scale=2, more="", **network):
        path = tmp_path / f"{name}.yml"
        path.parent.mkdir(exist_ok=True)
        section = "".join(f"  {key}: {value}\n" for key, value in ({"type": "Doubling"} | network).items())
        path.write_text(f"scale: {scale}\nnetwork_g:\n{section}{more}", encoding="utf-8")
        return str(path)

    return write
