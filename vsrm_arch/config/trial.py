"""A trial of the networks and losses that an option file names, before anything is made."""

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vsrm_arch.config.messages import OptionError
from vsrm_arch.errors import first_line

__all__ = ["silence", "try_to_build"]

# Their constructors fetch weights, whatever their arguments are.
_FETCHING = ("PerceptualLoss", "VGGFeatureExtractor")


def try_to_build(entry: Callable[..., object], arguments: Mapping[str, Any], where: str) -> None:
    """Builds a network or a loss and throws it away, so that its constructor's own checks speak in time.

    It is built on PyTorch's meta device, which holds no values: that takes no memory and half a second at most. No file
    is read: arguments named ``..._path`` keep their defaults, and what cannot be built without a file is not tried.

    Args:
        entry: A registered class or function.
        arguments: Its arguments, checked by :func:`vsrm_arch.config.check_arguments`.
        where: The file and the section, for messages.

    Raises:
        OptionError: If it cannot be built.
    """
    import torch

    name = getattr(entry, "__name__", str(entry))
    parameters = inspect.signature(entry).parameters
    files = {key for key in arguments if key.endswith("_path")}
    if name in _FETCHING or any(parameters[key].default is inspect.Parameter.empty for key in files & set(parameters)):
        return
    rest = {key: value for key, value in arguments.items() if key not in files}
    problem = ""
    # Some constructors look at values, of which the meta device has none: what fails there counts only if it fails on
    # the CPU, too.
    for device in ("meta", "cpu"):
        try:
            with silence(), torch.device(device):
                entry(**rest)
            return
        except Exception as error:
            problem = first_line(error).removesuffix(", but expected one of:")
    raise OptionError(f"{where}: {name} cannot be built from these values: {problem}")


@contextmanager
def silence() -> Iterator[None]:
    """A block without log records and warnings, for a network that is built on trial or without its files."""
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
