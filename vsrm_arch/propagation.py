"""Second-order recurrent propagation, shared by every network that uses it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import torch
from basicsr.archs.arch_util import flow_warp
from torch import Tensor, nn

from vsrm_arch.graphs import StepGraphs
from vsrm_arch.layers.checkpoint import checkpoint

__all__ = ["BRANCHES", "Alignment", "propagate", "propagate_branch"]

BRANCHES = ("backward_1", "forward_1", "backward_2", "forward_2")

Alignment = Callable[[Tensor, Tensor, Tensor], Tensor]


def propagate(
    features: Sequence[Tensor],
    flows_forward: Tensor,
    flows_backward: Tensor,
    branches: Mapping[str, Callable[[Tensor], Tensor]] | nn.ModuleDict,
    align: Alignment,
    checkpointed: Collection[str] = (),
    graphs: StepGraphs | None = None,
) -> list[Tensor]:
    """Runs the branches in a chain, each on the features of the one before.

    Args:
        features: T features ``(B, C, H, W)``, one a frame.
        flows_forward: ``(B, T - 1, 2, H, W)``, frame i + 1 → frame i, in pixels (x, y).
        flows_backward: ``(B, T - 1, 2, H, W)``, frame i → frame i + 1.
        branches: Name → backbone ``(B, 3, C, H, W) -> (B, C, H, W)``, in the order they run. A name that starts with
            "backward" runs from the last frame to the first.
        align: ``align(reference, target, flow) -> aligned``, all ``(B, C, H, W)``, the flow target → reference.
        checkpointed: Names of the branches whose activations are recomputed in the backward pass.
        graphs: The network's CUDA graphs, for backbones and an alignment that are modules; None: without.

    Returns:
        T features ``(B, C, H, W)``.
    """
    for name, backbone in branches.items():
        backward = name.startswith("backward")
        flows = flows_backward if backward else flows_forward
        features = propagate_branch(features, flows, backbone, align, backward, name in checkpointed, graphs, name)
    return list(features)


def propagate_branch(
    features: Sequence[Tensor],
    flows: Tensor,
    backbone: Callable[[Tensor], Tensor],
    align: Alignment,
    backward: bool,
    checkpointed: bool = False,
    graphs: StepGraphs | None = None,
    name: str = "",
) -> list[Tensor]:
    """Runs one branch over the clip.

    At every frame the branch's outputs of the last two visited frames are aligned to the current one, the first by the
    flow, the second by the composed flow, and the backbone sees ``[first, current, second]``. At the first frame it
    sees the current one three times; at the second frame zeros stand for the one that is missing.

    Args:
        features: T features ``(B, C, H, W)``.
        flows: ``(B, T - 1, 2, H, W)``, target → reference between frames i and i + 1, in the branch's direction.
        backbone: ``(B, 3, C, H, W) -> (B, C, H, W)``.
        align: As in :func:`propagate`.
        backward: Whether to run from the last frame to the first.
        checkpointed: Whether to recompute each step's activations in the backward pass.
        graphs: As in :func:`propagate`.
        name: The branch's among those that share ``graphs``.

    Returns:
        T features ``(B, C, H, W)``, in the order of the frames.
    """

    def step(
        current: Tensor, last: Tensor | None, second_last: Tensor | None, flow: Tensor | None, last_flow: Tensor | None
    ) -> Tensor:
        if last is None or flow is None:
            return backbone(torch.stack([current, current, current], dim=1))
        first = align(last, current, flow)
        if second_last is None or last_flow is None:
            second = torch.zeros_like(first)
        else:
            second = align(second_last, current, compose_flows(flow, last_flow))
        return backbone(torch.stack([first, current, second], dim=1))

    run: Callable[..., Tensor] = partial(checkpoint, step, enabled=checkpointed)
    if graphs is not None and not torch.compiler.is_compiling():
        run = graphs.over_clip(name, step, (align, backbone), features[0], checkpointed)
    num_frames = len(features)
    outputs: list[Tensor] = []
    last_flow = None
    for i in reversed(range(num_frames)) if backward else range(num_frames):
        flow = None if not outputs else flows[:, i if backward else i - 1]
        last = outputs[-1] if outputs else None
        second_last = outputs[-2] if len(outputs) > 1 else None
        outputs.append(run(features[i], last, second_last, flow, last_flow))
        last_flow = flow
    return outputs[::-1] if backward else outputs


def compose_flows(flow: Tensor, last_flow: Tensor) -> Tensor:
    """The flow over two frames: ``flow`` to the last frame, and from where it ends ``last_flow`` to the one before.

    Args:
        flow: ``(B, 2, H, W)``, in pixels (x, y).
        last_flow: ``(B, 2, H, W)``.

    Returns:
        ``(B, 2, H, W)``; zero is added where the first flow leaves the frame.
    """
    return flow + flow_warp(last_flow, flow.movedim(1, -1))
