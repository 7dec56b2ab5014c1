"""Activation checkpointing, the one way it is done here."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as _torch_checkpoint

__all__ = ["checkpoint"]


def checkpoint(function: Callable[..., Tensor], *args: Tensor | None, enabled: bool = True) -> Tensor:
    """Calls ``function`` and, if enabled and gradients are wanted, keeps only its inputs for the backward pass.

    Non-re-entrant, so it works with DDP, with inputs that need no gradient and with parameters that are frozen.

    Args:
        function: What to run; it must give the same result when it is run again.
        *args: Its arguments.
        enabled: Whether to checkpoint at all.

    Returns:
        What ``function`` returns.
    """
    if enabled and torch.is_grad_enabled():
        # No layer here draws random numbers, so their state need not be kept.
        return _torch_checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)
    return function(*args)
