"""CUDA graphs of the propagation's steps.

On small frames a step's kernels take less time than Python needs to launch them. A CUDA graph launches all of them at
once. The step of a branch is what is captured: its graph serves every frame of a clip of any length.

A captured step reads static input buffers and writes static outputs; a call copies its inputs in, replays, and clones
what comes out. One step runs at a time, in the order of one stream, so all steps of a network share their buffers and
the memory of their activations.
"""

import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vsrm_arch.errors import first_line
from vsrm_arch.graphs.gradients import Gate, GradientSums, PassToken
from vsrm_arch.graphs.recorder import CudaRecorder, Recorder
from vsrm_arch.layers.checkpoint import checkpoint

__all__ = ["StepGraphs"]

# Beyond, the kernels of a step take longer than their launches.
_MOST_PIXELS = 65536
# Steps that run before the capture: occurrences without gradient; passes with, so that a distributed training has
# settled its buckets.
_WARM_UP, _WARM_UP_TRAINING = 1, 2
# Branches that are kept, each with its sizes, dtypes and weights: four to a network at a time.
_MOST_BRANCHES = 32

_logger = logging.getLogger("basicsr.vsrm_arch")

Step = Callable[..., Tensor]
Inputs = Sequence[Tensor | None]


class StepGraphs:
    """The captured steps of one network: a cache, which copies and pickles of the network start without.

    It holds no module and no parameter. A step that computes with other weights, other sizes or in another precision is
    another step; those not used for long are dropped. One thread at a time may use it.

    Args:
        recorder: What records the steps; CUDA graphs by default.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self._recorder = CudaRecorder() if recorder is None else recorder
        self._branches: OrderedDict[tuple[Any, ...], _Branch] = OrderedDict()
        self._buffers = _Buffers()
        self._failures: list[str] = []

    def __reduce__(self) -> tuple[type["StepGraphs"], tuple[()]]:
        return StepGraphs, ()

    def over_clip(
        self, name: str, step: Step, modules: Sequence[Callable[..., Tensor]], feature: Tensor, checkpointed: bool
    ) -> Step:
        """What to call for each step of a branch's pass over a clip.

        With gradients, graphs are for checkpointed branches: they keep no more than a step's inputs, too.

        Args:
            name: Of the branch.
            step: ``step(*inputs) -> output``, where an input is a tensor ``(B, ...)`` or None; it draws no random
                numbers.
            modules: All that ``step`` calls that has weights.
            feature: Any of the clip's features, ``(B, C, H, W)``.
            checkpointed: Whether the backward pass recomputes the steps.

        Returns:
            A function like ``step``, for this pass alone: a graph where one has been captured, and ``step`` itself,
            checkpointed as asked for, until then and where graphs cannot run or do not pay.
        """
        eager = partial(checkpoint, step, enabled=checkpointed)
        differentiated = torch.is_grad_enabled()
        if differentiated and not checkpointed:
            return eager
        if type(feature) is not Tensor or _must_see_every_op() or not self._recorder.accepts(feature):
            return eager
        if len(feature) * feature.shape[2:].numel() > _MOST_PIXELS:
            return eager
        called = [module for module in modules if isinstance(module, nn.Module)]
        if len(called) < len(modules) or any(map(_has_hooks, chain.from_iterable(m.modules() for m in called))):
            return eager
        holder = _Holder(step, called)
        weights = [*holder.parameters(), *holder.buffers()]
        # The replicas of DataParallel have none.
        if not weights or not all(type(weight) in (nn.Parameter, Tensor) for weight in weights):
            return eager
        identity = [(w.data_ptr(), w.dtype, w.requires_grad and differentiated) for w in weights]
        key = (name, differentiated, holder.training, feature.device, *_settings(feature.device.type), *identity)
        branch = self._branch((*key, feature.shape, feature.dtype), differentiated)
        return _Pass(branch, holder, eager)

    def _branch(self, key: tuple[Any, ...], differentiated: bool) -> "_Branch":
        branch = self._branches.pop(key, None)
        if branch is None:
            branch = _Branch(self._recorder, self._buffers, self._failures, differentiated)
        self._branches[key] = branch
        while len(self._branches) > _MOST_BRANCHES:
            self._branches.popitem(last=False)
        return branch


def _must_see_every_op() -> bool:
    """Whether something looks at single operations, or changes them."""
    return (
        torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch.is_anomaly_enabled()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
        or torch.nn.modules.module._has_any_global_hook()
        # What torch.compile leaves to Python between the parts that it compiles.
        or callable(torch._C._dynamo.eval_frame.get_eval_frame_callback())
    )


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _settings(device_type: str) -> tuple[Any, ...]:
    """What else decides which kernels run."""
    backends = sorted((name, value) for name, value in os.environ.items() if name.startswith("VSRM_"))
    return (
        *_autocast_state(device_type),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        tuple(backends),
    )


def _autocast_state(device_type: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)


class _Holder(nn.Module):
    """A step with its modules: what ``functional_call`` needs to run it with other weights."""

    def __init__(self, step: Step, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.step = step
        self.called = nn.ModuleList(modules)
        self.training = any(module.training for module in modules)

    def forward(self, *inputs: Tensor | None) -> Tensor:
        return self.step(*inputs)


class _Buffers:
    """The static tensors that steps read, shared by all that take the like, since they run one after another."""

    def __init__(self) -> None:
        self._tensors: WeakValueDictionary[tuple[Any, ...], Tensor] = WeakValueDictionary()

    def get(self, slot: int | str, x: Tensor) -> Tensor:
        """The tensor like x for one of a step's inputs."""
        key = (slot, x.shape, x.stride(), x.dtype, x.device, torch.is_inference_mode_enabled())
        buffer = self._tensors.get(key)
        if buffer is None:
            self._tensors[key] = buffer = torch.empty_like(x, requires_grad=False)
        return buffer


class _Branch:
    """The captured steps of a branch, for inputs of one size: three, since the first two frames lack some inputs."""

    def __init__(self, recorder: Recorder, buffers: _Buffers, failures: list[str], differentiated: bool) -> None:
        self.recorder, self.buffers, self.failures, self.differentiated = recorder, buffers, failures, differentiated
        self.seen: Counter[tuple[Any, ...]] = Counter()
        # None: the capture has failed.
        self.graphs: dict[tuple[Any, ...], _StepGraph | None] = {}
        self.sums: GradientSums | None = None

    def capture(self, holder: _Holder, inputs: Inputs) -> "_StepGraph | None":
        """The graph of a step, or None, and the network's one warning, if it cannot be had."""
        if self.differentiated and self.sums is None:
            self.sums = GradientSums([p for p in holder.parameters() if p.requires_grad])
        try:
            return _StepGraph(self, holder, inputs)
        except RuntimeError as error:
            if not self.failures:
                _logger.warning(
                    "cuda_graphs: a step cannot be captured and goes on without a CUDA graph, with the same results "
                    "(%s); cuda_graphs: false in network_g leaves out the attempt",
                    first_line(error),
                )
            self.failures.append(first_line(error))
            return None


class _Pass:
    """One pass of a branch over a clip."""

    def __init__(self, branch: _Branch, holder: _Holder, eager: Step) -> None:
        self.branch, self.holder, self.eager = branch, holder, eager
        self._counted: set[tuple[Any, ...]] = set()
        self._token = PassToken()
        self._anchor: Tensor | None = None

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        graph = self._graph(inputs)
        if graph is None:
            return self.eager(*inputs)
        sums = self.branch.sums
        if sums is None:
            return graph.forward(inputs)
        trained = [] if self._anchor is not None else [p for p in self.holder.parameters() if p.requires_grad]
        if trained:
            self._anchor = Gate.apply(sums, self._token, *trained)
        return _GraphedStep.apply(graph, sums, self._token, self._anchor, *inputs)

    def _graph(self, inputs: Inputs) -> "_StepGraph | None":
        branch = self.branch
        if not all(x is None or type(x) is Tensor for x in inputs):
            return None
        # The stride of the batch depends on the length of the clip where an input is a part of a larger tensor.
        key = tuple(
            x if x is None else (x.shape, x.stride()[1:], x.dtype, branch.differentiated and x.requires_grad)
            for x in inputs
        )
        if key in branch.graphs:
            return branch.graphs[key]
        # A backward pass that recomputes this one must do as this one did.
        if torch._C._current_graph_task_id() != -1:
            return None
        if not branch.differentiated or key not in self._counted:
            self._counted.add(key)
            branch.seen[key] += 1
        if branch.seen[key] <= (_WARM_UP_TRAINING if branch.differentiated else _WARM_UP):
            return None
        branch.graphs[key] = branch.capture(self.holder, inputs)
        return branch.graphs[key]


class _StepGraph:
    """The graph of a step and, with gradients, the one of its recomputation and backward pass.

    Args:
        branch: Whose step it is.
        holder: The step.
        inputs: What it is called with.
    """

    def __init__(self, branch: _Branch, holder: _Holder, inputs: Inputs) -> None:
        buffers = [None if x is None else branch.buffers.get(slot, x) for slot, x in enumerate(inputs)]
        self._buffers = buffers
        self.touched: frozenset[int] = frozenset()
        device_type = next(x for x in inputs if x is not None).device.type
        enabled, dtype = _autocast_state(device_type)
        # Casts are part of the graph: a cached one would be of another iteration's weights, or of memory that the graph
        # gives to others.
        autocast = partial(torch.autocast, device_type, dtype, enabled, cache_enabled=False)

        def run() -> Tensor:
            with torch.no_grad(), autocast():
                return holder(*buffers)

        _copy(inputs, buffers)
        self._replay, self._output = branch.recorder.record(run)
        sums = branch.sums
        if sums is None:
            return
        wanted = [x is not None and x.requires_grad for x in inputs]
        if not any(wanted) and not sums.sums:
            return
        self._grad_output = grad_output = branch.buffers.get("gradient", self._output).zero_()

        def differentiate() -> tuple[list[Tensor | None], frozenset[int]]:
            # Fresh leaves: the parameters' own nodes belong to another stream, and may have hooks.
            with torch.enable_grad(), autocast():
                leaves = [
                    None if x is None else x.detach().requires_grad_(w) for x, w in zip(buffers, wanted, strict=True)
                ]
                weights = {
                    name: weight.detach().requires_grad_(weight.requires_grad)
                    for name, weight in holder.named_parameters()
                }
                output = torch.func.functional_call(holder, weights, tuple(leaves))
            of_inputs = [x for x in leaves if x is not None and x.requires_grad]
            of_weights = [weight for weight in weights.values() if weight.requires_grad]
            with torch.autocast(device_type, enabled=False):
                grads = torch.autograd.grad(output, of_inputs + of_weights, grad_output, allow_unused=True)
            remaining = iter(grads[: len(of_inputs)])
            return [next(remaining) if w else None for w in wanted], sums.add(grads[len(of_inputs) :])

        try:
            self._replay_backward, (self._grads, self.touched) = branch.recorder.record(differentiate)
        finally:
            # The recording itself has added gradients.
            sums.forget()

    def forward(self, inputs: Inputs) -> Tensor:
        """The step's output."""
        _copy(inputs, self._buffers)
        self._replay()
        return self._output.clone()

    def backward(self, inputs: Inputs, grad_output: Tensor) -> list[Tensor | None]:
        """The gradients of the inputs; it adds those of the weights to the branch's sums."""
        _copy([*inputs, grad_output], [*self._buffers, self._grad_output])
        self._replay_backward()
        return [None if grad is None else grad.clone() for grad in self._grads]


@torch.no_grad()
def _copy(tensors: Inputs, buffers: Inputs) -> None:
    for x, buffer in zip(tensors, buffers, strict=True):
        if x is not None and buffer is not None:
            buffer.copy_(x)


class _GraphedStep(torch.autograd.Function):
    """A step that keeps its inputs alone."""

    @staticmethod
    def forward(
        ctx: Any, graph: _StepGraph, sums: GradientSums, token: PassToken, _: Tensor | None, *inputs: Tensor | None
    ) -> Tensor:
        ctx.graph, ctx.sums, ctx.token = graph, sums, token
        ctx.save_for_backward(*inputs)
        return graph.forward(inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        ctx.sums.open(ctx.token, ctx.graph.touched)
        return None, None, None, None, *ctx.graph.backward(ctx.saved_tensors, grad_output)
