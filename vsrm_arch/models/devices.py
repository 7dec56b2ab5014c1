"""Where the network runs."""

import logging
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import ProcessGroup

from vsrm_arch.errors import UserError

__all__ = ["choose_device", "patient_group"]

_logger = logging.getLogger("basicsr.vsrm_arch")


def choose_device(opt: dict[str, Any]) -> torch.device:
    """The device of this process: a GPU where ``num_gpu`` is not 0, the CPU otherwise.

    A distributed run's launcher has set each process's current GPU. Without a launcher several GPUs need
    BasicSR's DataParallel, which is not supported: a training is refused, since its batch would be multiplied by the
    number of GPUs; a test runs on one GPU and gives the same results.

    Raises:
        UserError: If there is no GPU, or several are asked for without a launcher.
    """
    num_gpu = opt["num_gpu"]
    if num_gpu == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(f"num_gpu: {num_gpu}, but PyTorch sees no CUDA device; set num_gpu: 0 to run on the CPU")
    if num_gpu > 1 and not opt["dist"]:
        if opt["is_train"]:
            raise UserError(
                f"num_gpu: {num_gpu} needs a process for each GPU: run torchrun --nproc_per_node={num_gpu} "
                "-m vsrm_arch train -opt FILE --launcher pytorch, or set num_gpu: 1"
            )
        _logger.warning("num_gpu: %d without a launcher: testing on one GPU; use torchrun for more.", num_gpu)
    return torch.device("cuda", torch.cuda.current_device())


def patient_group() -> ProcessGroup:
    """A group of all processes that wait for each other as long as it takes.

    One rank may validate a long clip while the others are done; NCCL would end the run after ten minutes.
    """
    group = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=7))
    assert isinstance(group, ProcessGroup)  # what else it may be is for ranks outside of the group
    return group
