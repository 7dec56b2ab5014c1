"""The same run again gives the same numbers, on a GPU as well."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vsrm_arch.errors import UserError

__all__ = ["explained", "use_deterministic_algorithms"]


def use_deterministic_algorithms() -> None:
    """Asks PyTorch for deterministic algorithms, and for convolutions that are not chosen by their time."""
    # cuBLAS before PyTorch 2.10 needs it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # BasicSR's pipelines turn it on.
    torch.backends.cudnn.benchmark = False


@contextmanager
def explained() -> Iterator[None]:
    """Makes one line of PyTorch's refusal of an operation that is not deterministic.

    Raises:
        UserError: In its place.
    """
    try:
        yield
    except RuntimeError as error:
        operation, refusal, _ = str(error).partition(" does not have a deterministic implementation")
        if not refusal:
            raise
        raise UserError(
            f"deterministic: PyTorch's {operation} is not; set deterministic: false, or, where it belongs to the flow "
            "network, train: fix_flow to total_iter"
        ) from error
