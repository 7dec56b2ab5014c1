"""Processes that work together: started by torchrun or by srun, on GPUs or on a CPU, on one machine or several."""

import logging
import os
import re
import shutil
import subprocess
import sys
from typing import Any

from vsrm_arch.errors import UserError

__all__ = ["check_alone", "init_dist", "rank_and_size", "shut_down"]

logger = logging.getLogger("basicsr.vsrm_arch")

_DEFAULT_PORT = 29500


def init_dist(launcher: str, backend: str = "nccl", port: int | None = None) -> None:
    """Joins the process group.

    Args:
        launcher: ``pytorch``: torchrun has set the environment. ``slurm``: srun has.
        backend: Of torch.distributed; without CUDA, gloo takes the place of nccl.
        port: Slurm: the port of the first process; else MASTER_PORT, else 29500.

    Raises:
        UserError: If the launcher's variables are missing, there are more processes than GPUs, or the processes do not
            find each other.
    """
    import torch
    import torch.distributed as dist
    import torch.multiprocessing as mp

    if launcher == "pytorch":
        local_rank, local_size = _read_torchrun()
    elif launcher == "slurm":
        local_rank, local_size = _translate_slurm(port)
    else:
        raise UserError(f"--launcher {launcher}: expected pytorch or slurm")
    _start_workers_cleanly(mp)
    gpus = torch.cuda.device_count()
    if not gpus and backend == "nccl":
        backend = "gloo"
    device = None
    if backend == "nccl":
        # A scheduler may show each process its own GPU only: then every process has one, its number 0.
        if local_size > gpus > 1 or (gpus == 1 < local_size and launcher == "pytorch"):
            raise UserError(f"{local_size} processes for {gpus} GPUs: start at most one process per GPU")
        device = torch.device("cuda", local_rank % gpus)
    if gpus:
        torch.cuda.set_device(local_rank % gpus)
    try:
        dist.init_process_group(backend, device_id=device)
    except dist.DistError as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).partition("\n")[0]
        raise UserError(f"cannot meet the other processes at {address}: {reason}") from error


def check_alone() -> None:
    """Refuses several processes without a launcher: each would train for itself and overwrite the others' files.

    Raises:
        UserError: If torchrun has started more than one process.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in os.environ and size != "1":
        raise UserError(f"torchrun has started {size} processes, but the command has no --launcher pytorch; add it")


def rank_and_size() -> tuple[int, int]:
    """This process's rank and the number of processes, before the process group is there, too."""
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if os.environ.get(rank, "").isdigit() and os.environ.get(size, "").isdigit():
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def shut_down(failed: bool = False) -> None:
    """Leaves the process group, if there is one.

    Args:
        failed: Whether an error ends this process. Leaving an NCCL group waits for the other processes, which may wait
            for this one in turn; the launcher ends them all when this process ends.
    """
    dist = sys.modules.get("torch.distributed")
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return
    if not (failed and dist.get_backend() == "nccl"):
        dist.destroy_process_group()


def _start_workers_cleanly(mp: Any) -> None:
    """The data loaders' workers must not be forked from a process that holds CUDA's and NCCL's threads.

    Started anew ("spawn", BasicSR's way) each takes seconds to import everything, in every epoch; forked from a server
    process that has imported it and nothing else, none.
    """
    if mp.get_start_method(allow_none=True) is not None:
        return
    if "forkserver" in mp.get_all_start_methods():
        mp.set_start_method("forkserver")
        mp.set_forkserver_preload(["vsrm_arch"])
    else:
        mp.set_start_method("spawn")


def _read_torchrun() -> tuple[int, int]:
    """Local rank and processes on this machine."""
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UserError(
            f"--launcher pytorch: {', '.join(missing)} not set; start the command with torchrun: "
            "torchrun --nproc_per_node=2 -m vsrm_arch train -opt FILE --launcher pytorch"
        )
    rank = _number("RANK")
    return _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", 1)


def _translate_slurm(port: int | None) -> tuple[int, int]:
    """Sets torch.distributed's variables from Slurm's; local rank and processes on this machine."""
    missing = [name for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST") if name not in os.environ]
    if missing:
        raise UserError(
            f"--launcher slurm: {', '.join(missing)} not set; start the command with srun: "
            "srun --ntasks-per-node=8 --gres=gpu:8 basicsr train -opt FILE --launcher slurm"
        )
    rank, size = _number("SLURM_PROCID"), _number("SLURM_NTASKS")
    local_rank = _number("SLURM_LOCALID", rank)
    os.environ["RANK"], os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"] = str(rank), str(size), str(local_rank)
    os.environ.setdefault("MASTER_ADDR", _first_host(os.environ["SLURM_NODELIST"]))
    if port is not None:
        os.environ["MASTER_PORT"] = str(port)
    else:
        os.environ.setdefault("MASTER_PORT", str(_DEFAULT_PORT))
    # "4(x2),3": four processes on each of the first two machines, three on the next.
    per_node = re.match(r"\d+", os.environ.get("SLURM_STEP_TASKS_PER_NODE", os.environ.get("SLURM_TASKS_PER_NODE", "")))
    return local_rank, int(per_node.group()) if per_node else 1


def _first_host(nodes: str) -> str:
    """The first machine of a Slurm node list such as ``gpu[003-010,12],login1``."""
    if shutil.which("scontrol"):
        answer = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.split()[0]
    # Inside a container there may be no scontrol.
    first = re.match(r"([^\[,]+)(?:\[(\w+)[^\]]*\])?([^,\[]*)", nodes.strip())
    if first is None:
        raise UserError(f"--launcher slurm: cannot read the node list {nodes!r}; set MASTER_ADDR to the first machine")
    prefix, number, suffix = first.groups()
    return f"{prefix}{number or ''}{suffix}"


def _number(variable: str, default: int | None = None) -> int:
    text = os.environ.get(variable)
    if text is None and default is not None:
        return default
    if text is None or not text.isdigit():
        raise UserError(f"the environment variable {variable} is {text!r}; the launcher should set it to a number")
    return int(text)
