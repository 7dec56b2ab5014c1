import math

import pytest
import torch
from tiny import TinyVSR, train_options

from vsrm_arch import config
from vsrm_arch.models.optimization import LearningRates, build_optimizer, flow_parameters, load_moments
from vsrm_arch.models.options import TrainOptions

COSINE = {"type": "CosineAnnealingRestartLR", "periods": [8], "restart_weights": [1], "eta_min": 0.0}
STEPS = {"type": "MultiStepLR", "milestones": [2, 4], "gamma": 0.5}


def setup(**train):
    options = config.parse(TrainOptions, train_options(**{"flow_lr_mul": 0.25} | train), "train")
    optimizer = build_optimizer(TinyVSR(with_flow=True), options.optim_g, options.flow_lr_mul)
    return optimizer, LearningRates(optimizer, options)


def sequence(optimizer, rates, iterations):
    seen = []
    for iteration in iterations:
        rates.update(iteration)
        optimizer.step()
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))
    return seen


def expected(schedule, fix_flow=0, warmup=0):
    """The learning rates of iterations 1 to 8, written out."""
    rates = []
    for i in range(1, 9):
        if schedule is COSINE:
            factor = 0.5 * (1 + math.cos(math.pi * (i - 1) / 8))
        else:
            factor = 1 if i <= 2 else 0.5 if i <= 4 else 0.25
        if i < warmup:
            factor = i / warmup
        rates.append((1e-2 * factor, 0.0 if i <= fix_flow else 1e-2 * factor * 0.25))
    return rates


def test_flow_parameters_are_those_of_spynet():
    network = TinyVSR(with_flow=True)
    assert {id(p) for p in flow_parameters(network)} == {id(p) for p in network.flow.parameters()}
    assert not list(flow_parameters(TinyVSR()))


def test_groups_cover_every_parameter_once():
    optimizer, _ = setup()
    assert [group["name"] for group in optimizer.param_groups] == ["network", "flow"]
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(TinyVSR(with_flow=True).parameters()))


@pytest.mark.parametrize("schedule", [COSINE, STEPS])
@pytest.mark.parametrize("fix_flow", [0, 3])
@pytest.mark.parametrize("warmup", [-1, 3])
def test_learning_rates_of_every_iteration(schedule, fix_flow, warmup):
    optimizer, rates = setup(scheduler=schedule, fix_flow=fix_flow, warmup_iter=warmup)
    seen = sequence(optimizer, rates, range(1, 9))
    assert seen == [pytest.approx(pair) for pair in expected(schedule, fix_flow, warmup)]


@pytest.mark.parametrize("schedule", [COSINE, STEPS])
@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_learning_rates_go_on_after_a_resume(schedule, stop):
    """Stopped inside of the freeze and of the warm-up, at the edge of both, and after."""
    options = {"scheduler": schedule, "fix_flow": 3, "warmup_iter": 3}
    optimizer, rates = setup(**options)
    first = sequence(optimizer, rates, range(1, stop + 1))
    resumed_optimizer, resumed_rates = setup(**options)
    load_moments(resumed_optimizer, optimizer.state_dict())
    resumed_rates.load_state_dict(rates.state_dict())
    second = sequence(resumed_optimizer, resumed_rates, range(stop + 1, 9))
    assert first + second == [pytest.approx(pair) for pair in expected(schedule, 3, 3)]


def test_restart():
    schedule = {"type": "MultiStepRestartLR", "milestones": [2], "restarts": [0, 4], "restart_weights": [1, 0.5]}
    optimizer, rates = setup(scheduler=schedule)
    factors = [lr / 1e-2 for lr, _ in sequence(optimizer, rates, range(1, 8))]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.5, 0.5, 0.5])


def test_the_option_file_rules_the_schedule_after_a_resume():
    optimizer, rates = setup(scheduler=COSINE)
    sequence(optimizer, rates, range(1, 3))
    longer = {"total_iter": 80, "scheduler": COSINE | {"periods": [80]}, "optim_g": {"type": "Adam", "lr": 1.0}}
    resumed_optimizer, resumed_rates = setup(**longer)
    load_moments(resumed_optimizer, optimizer.state_dict())
    resumed_rates.load_state_dict(rates.state_dict())
    ((lr, flow_lr),) = sequence(resumed_optimizer, resumed_rates, [3])
    assert lr == pytest.approx(0.5 * (1 + math.cos(math.pi * 2 / 80)))
    assert flow_lr == pytest.approx(0.25 * lr)
    assert resumed_optimizer.param_groups[0]["betas"] == (0.9, 0.99)


def test_stock_schedulers_state_is_taken_up():
    optimizer, rates = setup(scheduler=COSINE)
    sequence(optimizer, rates, range(1, 3))
    _, resumed = setup(scheduler=COSINE)
    resumed.load_state_dict(rates.scheduler.state_dict())
    assert resumed.state_dict() == rates.state_dict()


def test_moments_of_another_network_are_refused():
    optimizer, _ = setup()
    other = torch.optim.Adam(TinyVSR().parameters())
    with pytest.raises(ValueError, match="parameter group"):
        load_moments(other, optimizer.state_dict())
