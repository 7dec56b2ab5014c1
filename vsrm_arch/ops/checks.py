"""Checks of an op's inputs: one clear line instead of a failure inside a kernel."""

from torch import Tensor

__all__ = ["check_dims", "check_same_device", "check_shape"]


def check_shape(name: str, tensor: Tensor | None, expected: tuple[int, ...], axes: str) -> None:
    """Raises a ``ValueError`` unless ``tensor`` is None or has the expected shape.

    Args:
        name: Of the argument, for the message.
        tensor: What was given for it.
        expected: Its shape.
        axes: The names of the axes, e.g. "B, L, E".
    """
    if tensor is not None and tuple(tensor.shape) != expected:
        raise ValueError(f"{name}: expected shape ({axes}) = {expected}, got {tuple(tensor.shape)}")


def check_dims(name: str, tensor: Tensor, axes: str) -> None:
    """Raises a ``ValueError`` unless ``tensor`` has as many axes as named, none of them empty."""
    if tensor.dim() != axes.count(",") + 1 or 0 in tensor.shape:
        raise ValueError(f"{name}: expected a tensor ({axes}) that is not empty, got shape {tuple(tensor.shape)}")


def check_same_device(reference: Tensor, tensors: dict[str, Tensor | None]) -> None:
    """Raises a ``ValueError`` unless every tensor is of floating point and lives where ``reference`` does."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.device != reference.device:
            raise ValueError(f"{name}: expected a tensor on {reference.device}, got one on {tensor.device}")
        if not tensor.is_floating_point():
            raise ValueError(f"{name}: expected a floating-point tensor, got {tensor.dtype}")
