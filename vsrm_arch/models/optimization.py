"""The optimiser's parameter groups and the learning rate of each at every iteration."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from basicsr.archs.spynet_arch import SpyNet
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from torch import nn
from torch.optim import Optimizer

from vsrm_arch.errors import UserError
from vsrm_arch.models.options import OptimizerOptions, SchedulerOptions, TrainOptions

__all__ = ["LearningRates", "build_optimizer", "flow_parameters", "load_moments"]


def flow_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of the network's flow networks: those inside of BasicSR's SpyNet."""
    for module in network.modules():
        if isinstance(module, SpyNet):
            yield from module.parameters()


def build_optimizer(network: nn.Module, options: OptimizerOptions, flow_lr_mul: float) -> Optimizer:
    """Builds the optimiser with a group "network" and, where there is a flow network, a group "flow".

    Args:
        network: The bare network.
        options: ``train: optim_g``.
        flow_lr_mul: Factor on the flow group's learning rate.

    Raises:
        UserError: If the network has no parameters.
    """
    flow = list(flow_parameters(network))
    of_flow = set(map(id, flow))
    rest = [parameter for parameter in network.parameters() if id(parameter) not in of_flow]
    groups = [
        {"name": "network", "params": rest, "lr": options.lr},
        {"name": "flow", "params": flow, "lr": options.lr * flow_lr_mul},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UserError(f"network_g: {type(network).__name__} has no parameters to train; test it instead")
    optimizer = torch.optim.Adam if options.type == "Adam" else torch.optim.AdamW
    return optimizer(groups, betas=options.betas, eps=options.eps, weight_decay=options.weight_decay)


def load_moments(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Loads what the optimiser has learnt; its settings stay those of the option file.

    Raises:
        ValueError: If the state belongs to other parameters.
    """
    settings = [{name: value for name, value in g.items() if name != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


class LearningRates:
    """Sets the learning rate of each parameter group before every iteration.

    A stock scheduler of BasicSR gives the schedule. On top of it the learning rate rises linearly during the warm-up,
    and the group "flow" is frozen at the start: its learning rate is zero and its gradients are dropped, so that the
    optimiser keeps no moments of them. Parameters keep ``requires_grad``: distributed training and activation
    checkpointing forbid to change it on the way.

    Args:
        optimizer: From :func:`build_optimizer`.
        options: ``train``.
    """

    def __init__(self, optimizer: Optimizer, options: TrainOptions) -> None:
        self.optimizer = optimizer
        self.scheduler = _build_scheduler(optimizer, options.scheduler)
        self.warmup_iter = options.warmup_iter
        self.fix_flow = options.fix_flow

    def update(self, iteration: int) -> None:
        """Sets the learning rates of iteration 1, 2, …; to be called once for each."""
        groups, scheduler = self.optimizer.param_groups, self.scheduler
        # MultiStepRestartLR goes on from the groups' learning rates: give it its own, without freeze and warm-up.
        for group, lr in zip(groups, scheduler.get_last_lr(), strict=True):
            group["lr"] = lr
        if iteration > 1:
            with warnings.catch_warnings():
                # "step() before optimizer.step()": after a resume, or where the scaler has skipped the first step.
                warnings.simplefilter("ignore", UserWarning)
                scheduler.step()
        for group in groups:
            if iteration < self.warmup_iter:
                group["lr"] = group["initial_lr"] * iteration / self.warmup_iter
            if self._is_frozen(group, iteration):
                group["lr"] = 0.0

    def trained_parameters(self, iteration: int) -> list[nn.Parameter]:
        """The parameters that this iteration changes."""
        groups = self.optimizer.param_groups
        return [p for group in groups if not self._is_frozen(group, iteration) for p in group["params"]]

    def drop_frozen_gradients(self, iteration: int) -> None:
        """Forgets the gradients of the groups that are frozen in this iteration."""
        for group in self.optimizer.param_groups:
            if self._is_frozen(group, iteration):
                for parameter in group["params"]:
                    parameter.grad = None

    def _is_frozen(self, group: dict[str, Any], iteration: int) -> bool:
        return group["name"] == "flow" and iteration <= self.fix_flow

    def state_dict(self) -> dict[str, Any]:
        """Where in the schedule we are; the schedule itself stands in the option file."""
        state = self.scheduler.state_dict()
        return {name: state[name] for name in ("last_epoch", "_step_count", "_last_lr")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where a state dict of this class, or a stock scheduler's, was taken."""
        self.scheduler.load_state_dict({name: state[name] for name in ("last_epoch", "_step_count", "_last_lr")})


def _build_scheduler(optimizer: Optimizer, options: SchedulerOptions) -> torch.optim.lr_scheduler.LRScheduler:
    if options.type == "CosineAnnealingRestartLR":
        return CosineAnnealingRestartLR(optimizer, options.periods, options.restart_weights, options.eta_min)
    return MultiStepRestartLR(optimizer, options.milestones, options.gamma, options.restarts, options.restart_weights)
