"""Where and how something was measured."""

import platform
from datetime import datetime
from pathlib import Path

import torch

from vsrm_arch import __version__
from vsrm_arch.ops import describe_backends

__all__ = ["environment"]


def environment(device: torch.device, command: str) -> dict[str, str]:
    """What belongs beside each figure: device, versions, the backends that run, the command, the date."""
    used = [info for info in describe_backends([device.type]) if info.chosen]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda) if device.type == "cuda" else "-",
        "python": platform.python_version(),
        "vsrm_arch": __version__,
        "backends": ", ".join(f"{info.op}: {info.backend}" for info in used),
        "float32_matmul": torch.get_float32_matmul_precision(),
        "command": command,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _processor() -> str:
    name = platform.processor() or platform.machine()
    table = Path("/proc/cpuinfo")
    if table.is_file():
        lines = (line.partition(":") for line in table.read_text(encoding="utf-8", errors="replace").splitlines())
        name = next((value.strip() for key, _, value in lines if key.strip() == "model name"), name)
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"
