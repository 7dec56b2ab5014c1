"""What every recurrent network does: flow, first convolution, propagation, reconstruction."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from vsrm_arch.alignments.no_alignment import NoAlignment
from vsrm_arch.graphs import StepGraphs
from vsrm_arch.layers.flow import estimate_flow
from vsrm_arch.propagation import BRANCHES, Alignment, propagate

__all__ = ["RecurrentNetwork", "check_even", "check_sizes"]


class RecurrentNetwork(nn.Module):
    """The base of recurrent networks, which add their branches, their alignment and their reconstruction.

    Args:
        embed_dim: C, channels of the features.
        spynet: The flow network; None: no motion.
        checkpoint: Whether the backward pass recomputes activations to save memory: in all branches, in none, or in
            those listed out of "backward_1", "forward_1", "backward_2", "forward_2".
        cuda_graphs: Whether to launch the kernels of a propagation step as one CUDA graph where that can be done.

    Raises:
        ValueError: If ``checkpoint`` names a branch that does not exist.
    """

    def __init__(
        self, embed_dim: int, spynet: nn.Module | None, checkpoint: bool | list[str], cuda_graphs: bool
    ) -> None:
        super().__init__()
        self.checkpointed = _branch_names(checkpoint)
        self.graphs = StepGraphs() if cuda_graphs else None
        self.spynet = spynet
        self.conv_first = nn.Conv2d(3, embed_dim, 3, padding=1)

    def enlarge(
        self,
        lq: Tensor,
        branches: Mapping[str, Callable[[Tensor], Tensor]] | nn.ModuleDict,
        align: Alignment,
        reconstruct: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Enlarges a clip.

        Args:
            lq: ``(B, T, 3, H, W)``, RGB in [0, 1]; any T, H and W from 1.
            branches: As in :func:`vsrm_arch.propagation.propagate`.
            align: Likewise.
            reconstruct: A feature ``(B, C, H, W)`` and its frame ``(B, 3, H, W)`` → ``(B, 3, scale·H, scale·W)``.

        Returns:
            ``(B, T, 3, scale·H, scale·W)``.
        """
        spynet = None if isinstance(align, NoAlignment) else self.spynet
        flows_forward, flows_backward = estimate_flow(spynet, lq)
        frames = lq.unbind(1)
        features = [self.conv_first(frame) for frame in frames]
        features = propagate(features, flows_forward, flows_backward, branches, align, self.checkpointed, self.graphs)
        return torch.stack([reconstruct(x, frame) for x, frame in zip(features, frames, strict=True)], dim=1)


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Checks arguments of a network that count something.

    Args:
        sizes: Argument → value.

    Raises:
        ValueError: If one is below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")


def check_even(embed_dim: int) -> None:
    """Checks the channels of a network whose alignment encodes positions.

    Raises:
        ValueError: If their number is odd.
    """
    if embed_dim % 2:
        raise ValueError(f"embed_dim is {embed_dim}; it must be even: one half encodes a position's y, the other its x")


def _branch_names(checkpoint: bool | list[str]) -> tuple[str, ...]:
    if isinstance(checkpoint, bool):
        return BRANCHES if checkpoint else ()
    unknown = sorted(set(checkpoint) - set(BRANCHES))
    if unknown:
        raise ValueError(f"checkpoint: no branch {', '.join(unknown)}; the branches are {', '.join(BRANCHES)}")
    return tuple(checkpoint)
