"""The states of all random generators of a process, in a form that loads with weights only."""

import random
from typing import Any

import numpy as np
import torch

__all__ = ["random_states", "restore_random_states"]


def random_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and PyTorch's generators; plain numbers and tensors."""
    version, numbers, gauss = random.getstate()
    of_numpy: Any = np.random.get_state(legacy=False)
    states: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": of_numpy | {"state": {"key": of_numpy["state"]["key"].tolist(), "pos": int(of_numpy["state"]["pos"])}},
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Sets the generators to what :func:`random_states` has taken down."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    keys = np.array(states["numpy"]["state"]["key"], dtype=np.uint32)
    np.random.set_state(states["numpy"] | {"state": states["numpy"]["state"] | {"key": keys}})
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
