"""Ops as single operations of the programs that ``torch.export`` writes.

Without this a program would hold each step of a scan, tens of thousands for a small clip, and the implementation of the
machine that wrote it. An operation ``vsrm_arch::<op>`` picks its implementation where the program runs, which must have
imported this package before it loads one.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["is_exporting", "operation", "without_autocast"]


def _never() -> bool:
    return False


# PyTorch 2.6 does not tell; a program that it writes holds each step.
is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", _never)


def operation(signature: str, run: Callable[..., Tensor], result: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Registers an op with PyTorch as ``vsrm_arch::<name>``, without gradients.

    Args:
        signature: Its name and arguments as PyTorch's schemas write them: ``double(Tensor x) -> Tensor``.
        run: What it does; the result shares no memory with an argument.
        result: A tensor of the result's shape, dtype and strides, given the same arguments.

    Returns:
        The operation, to be called with positional arguments.
    """
    name, parenthesis, rest = signature.partition("(")

    def without_gradients(*arguments: object) -> Tensor:
        with torch.no_grad():
            return run(*arguments)

    made = torch.library.custom_op(f"vsrm_arch::{name}", without_gradients, mutates_args=(), schema=parenthesis + rest)
    made.register_fake(result)
    return made


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """A block in the dtypes of its tensors. Nothing where autocast is off: a program would hold such blocks, too."""
    return torch.autocast(device_type, enabled=False) if torch.is_autocast_enabled(device_type) else nullcontext()
