"""Which weights of a file fit a network."""

from collections.abc import Mapping

from torch import Tensor, nn

from vsrm_arch.wording import counted, some

__all__ = ["fit"]


def fit(network: nn.Module, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Compares weights with those of a network.

    Args:
        network: The network.
        weights: A state dict.

    Returns:
        The weights that fit the network, and what does not, in words: nothing if they are the network's own.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    resized = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    fitting = {name: value for name, value in weights.items() if name in own and name not in resized}
    sizes = [f"{name} is {tuple(weights[name].shape)}, not {tuple(own[name].shape)}" for name in resized]
    faults = [("missing", missing), ("not in the network", unknown), ("of another size", sizes)]
    return fitting, [f"{counted(len(names), 'weight')} {fault} ({some(names)})" for fault, names in faults if names]
