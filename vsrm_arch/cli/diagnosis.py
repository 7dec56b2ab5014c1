"""What ``basicsr doctor`` looks at: versions, devices, backends, folders, and what is wrong with them."""

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from vsrm_arch.errors import UserError, first_line
from vsrm_arch.ops import INSTALL_CUDA, BackendInfo, describe_backends

__all__ = ["OPTIONAL", "Device", "Problem", "Report", "examine"]

_GIB = 2**30
_ENOUGH_DISK = 5 * _GIB

# Distribution → what it is for; the required ones first.
_REQUIRED = {
    "torch": "",
    "torchvision": "",
    "basicsr": "",
    "vsrm-arch": "",
    "numpy": "",
    "opencv-python": "",
    "lmdb": "",
    "scikit-image": "",
}
OPTIONAL = {
    "triton": "fused kernels on GPUs",
    "mamba-ssm": f"the fast scan on NVIDIA GPUs: {INSTALL_CUDA}",
    "causal-conv1d": f"the fast convolution before it: {INSTALL_CUDA}",
    "av": "reading and writing video files: pip install 'vsrm-arch[video]'",
    "safetensors": "weights in .safetensors files: pip install 'vsrm-arch[hub]'",
    "huggingface-hub": "weights from the Hugging Face Hub: pip install 'vsrm-arch[hub]'",
    "lpips": "the metric calculate_lpips: pip install 'vsrm-arch[metrics]'",
}
# Where an installed distribution must prove itself: a build can lack its CUDA part.
_MODULES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "basicsr": "basicsr",
    "numpy": "numpy",
    "opencv-python": "cv2",
    "lmdb": "lmdb",
    "scikit-image": "skimage",
}
_FLOW_FOLDER = Path("experiments/pretrained_models/flownet")


@dataclass(frozen=True)
class Problem:
    """Something wrong.

    Attributes:
        what: One line.
        remedy: One line.
        fatal: Whether it makes training impossible.
    """

    what: str
    remedy: str
    fatal: bool = False


@dataclass(frozen=True)
class Device:
    """A device that a network can run on.

    Attributes:
        name: ``cpu`` or ``cuda:0``.
        model: The manufacturer's name, or the number of cores.
        memory: Bytes, all of it; None if not known.
        free_memory: Bytes that nobody holds; None if not known.
        capability: CUDA's compute capability such as ``9.0``; None elsewhere.
        bf16: Whether bfloat16 arithmetic is there.
    """

    name: str
    model: str
    memory: int | None
    free_memory: int | None
    capability: str | None
    bf16: bool


@dataclass
class Report:
    """All that the doctor found."""

    versions: dict[str, str | None] = field(default_factory=dict)
    devices: list[Device] = field(default_factory=list)
    backends: list[BackendInfo] = field(default_factory=list)
    tools: dict[str, str | None] = field(default_factory=dict)
    free_disk: int = 0
    folders: dict[str, str] = field(default_factory=dict)
    flow_weights: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether training is possible."""
        return not any(problem.fatal for problem in self.problems)


def examine(root: Path) -> Report:
    """Looks at the installation and at the folder that commands are run from.

    Args:
        root: The folder with ``datasets/`` and ``experiments/``.

    Returns:
        The report.
    """
    report = Report()
    _examine_versions(report)
    if report.usable:
        _examine_devices(report)
        _examine_backends(report)
    _examine_tools(report)
    _examine_folders(report, root)
    return report


def _examine_versions(report: Report) -> None:
    report.versions["python"] = platform.python_version()
    for name in (*_REQUIRED, *OPTIONAL):
        try:
            report.versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            report.versions[name] = None
    for name in _REQUIRED:
        module = _MODULES.get(name)
        if module is None:
            continue
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken installation fails in any way
            remedy = "pip install --force-reinstall " + ("torch torchvision" if "torch" in name else name)
            report.problems.append(Problem(f"{name} cannot be imported: {first_line(error)}", remedy, fatal=True))
        else:
            # opencv is distributed under several names.
            report.versions[name] = report.versions[name] or getattr(sys.modules[module], "__version__", "unknown")


def _examine_devices(report: Report) -> None:
    import torch

    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        try:
            free = torch.cuda.mem_get_info(index)[0]
            torch.ones(2, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:
            report.problems.append(
                Problem(
                    f"cuda:{index} ({properties.name}) cannot be used: {first_line(error)}",
                    "look at nvidia-smi; install a PyTorch build for this GPU, see pytorch.org",
                    fatal=True,
                )
            )
            free = None
        capability = f"{properties.major}.{properties.minor}"
        bf16 = properties.major >= 8
        report.devices.append(Device(f"cuda:{index}", properties.name, properties.total_memory, free, capability, bf16))
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        report.problems.append(
            Problem(
                f"there is an NVIDIA driver, but PyTorch ({built}) finds no GPU",
                "check CUDA_VISIBLE_DEVICES and nvidia-smi; install the PyTorch build for this driver, see pytorch.org",
            )
        )
    memory = _system_memory()
    report.devices.append(Device("cpu", f"{os.cpu_count()} cores", memory[0], memory[1], None, _cpu_has_bf16()))


def _examine_backends(report: Report) -> None:
    types = sorted({device.name.split(":")[0] for device in report.devices})
    for kind in types:
        try:
            infos = describe_backends([kind])
        except UserError as error:
            report.problems.append(Problem(str(error), "unset the variable, or name one of these", fatal=True))
            return
        for info in infos:
            report.backends.append(info)
            if info.chosen and not info.available:
                report.problems.append(
                    Problem(
                        f"{info.op} on {kind}: {info.backend} is asked for, but {info.reason}",
                        f"unset VSRM_{info.op.upper()}_BACKEND",
                        fatal=True,
                    )
                )


def _examine_tools(report: Report) -> None:
    report.tools["ffmpeg"] = shutil.which("ffmpeg")
    report.tools["PyAV"] = report.versions.get("av")
    if report.versions.get("av") is None:
        report.problems.append(
            Problem("video files cannot be read or written: no PyAV", "pip install 'vsrm-arch[video]'")
        )


def _examine_folders(report: Report, root: Path) -> None:
    report.free_disk = shutil.disk_usage(root).free
    if report.free_disk < _ENOUGH_DISK:
        report.problems.append(
            Problem(
                f"only {report.free_disk / _GIB:.1f} GiB are free on this disk",
                "free some: checkpoints and LMDB files are large",
                fatal=report.free_disk < _GIB // 10,
            )
        )
    for name in ("datasets", "experiments"):
        folder = root / name
        existing = next(f for f in (folder, *folder.parents) if f.exists())
        writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
        if not folder.exists():
            report.folders[f"{name}/"] = "made when needed" if writable else "cannot be made"
        else:
            report.folders[f"{name}/"] = "writable" if writable else "not writable"
        if not writable:
            fatal = name == "experiments"
            report.problems.append(
                Problem(
                    f"{folder} {report.folders[f'{name}/'].replace('not writable', 'is not writable')}",
                    f"run in a folder of yours, or chmod u+w {existing}",
                    fatal,
                )
            )
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).total < _GIB:
        report.problems.append(
            Problem(
                f"only {shutil.disk_usage(shared).total // 2**20} MiB of shared memory (/dev/shm): the data loader's "
                "workers may die of a bus error",
                "in a container: docker run --shm-size=8g; or set num_worker_per_gpu: 0",
            )
        )
    report.flow_weights = sorted(str(f.relative_to(root)) for f in (root / _FLOW_FOLDER).glob("*.pth"))
    if not report.flow_weights:
        report.problems.append(
            Problem(
                f"no weights of the optical flow in {_FLOW_FOLDER}/ (the sample and trained networks do without)",
                "the README's section on flow weights says where to get them; put the .pth file there",
            )
        )


def _system_memory() -> tuple[int | None, int | None]:
    """All and available bytes of main memory, where the system tells."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None, None


def _cpu_has_bf16() -> bool:
    import torch

    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())
