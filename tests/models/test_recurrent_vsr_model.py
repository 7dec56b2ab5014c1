import copy
import re
from functools import partialmethod

import pytest
import tiny
import torch
from torch import nn

from vsrm_arch.errors import UserError

CHARBONNIER = {"type": "CharbonnierLoss", "eps": 1e-6}


def step(model, iteration, data):
    model.update_learning_rate(iteration)
    model.feed_data(data)
    model.optimize_parameters(iteration)


def train(model, first, last, clips=(0, 1)):
    for iteration in range(first, last + 1):
        step(model, iteration, tiny.batch(*clips))


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW"])
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_a_few_iterations_lower_the_loss(build, optimizer, amp):
    model = build(train={"amp": amp, "optim_g": {"type": optimizer, "lr": 1e-2}})
    losses = []
    for iteration in range(1, 9):
        step(model, iteration, tiny.batch(0, 1))
        losses.append(model.get_current_log()["l_pix"])
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize("network", ["BasicRecurrentSwin", "IART"])
def test_the_baselines_train(build, network, amp):
    shape = {"embed_dim": 8, "depths": [2], "num_heads": 2, "window": 4, "checkpoint": True}
    model = build(
        network_g={"type": network, **shape}, scale=4, train={"amp": amp, "optim_g": {"type": "Adam", "lr": 2e-3}}
    )
    before = weights(model.net_g)
    losses = []
    for iteration in range(1, 5):
        step(model, iteration, tiny.batch(0, 1, scale=4))
        losses.append(model.get_current_log()["l_pix"])
    assert losses[-1] < losses[0]
    after, parameters = weights(model.net_g), dict(model.net_g.named_parameters())
    trained = {name for name in before if not torch.equal(before[name], after[name])}
    assert trained >= {n for n in parameters if parameters[n].requires_grad and ".attn.qkv." in n}
    assert not trained & {n for n in after if n not in parameters or not parameters[n].requires_grad}


def test_options_are_not_modified(build, tmp_path):
    opt = tiny.model_options(tmp_path)
    before = copy.deepcopy(opt)
    train(type(build())(opt), 1, 1)
    assert opt == before


def test_one_iteration_is_a_step_of_adam_on_both_losses(build):
    model = build(train={"ema_decay": 0})
    network = copy.deepcopy(model.net_g)
    data = tiny.batch(0, 1)
    step(model, 1, data)

    difference = network(data["lq"]) - data["gt"]
    spectrum = torch.fft.fft2(difference)
    pixel = (difference**2 + 1e-6).sqrt().mean()
    frequency = 0.02 * sum((part**2 + 1e-6).sqrt().mean() for part in (spectrum.real, spectrum.imag))
    (pixel + frequency).backward()
    norm = nn.utils.get_total_norm([p.grad for p in network.parameters()])
    torch.optim.Adam(network.parameters(), lr=1e-2, betas=(0.9, 0.99)).step()

    log = model.get_current_log()
    assert log == pytest.approx({"l_pix": pixel.item(), "l_freq": frequency.item(), "grad_norm": norm.item()}, rel=1e-5)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(model.net_g.get_parameter(name), parameter, rtol=1e-4, atol=1e-6)


def test_gradient_is_clipped_to_the_norm(build):
    """Plain SGD would show the clipped gradient; with Adam we look at the gradient itself."""
    model = build(train={"grad_clip": 0.01})
    step(model, 1, tiny.batch(0, 1))
    assert model.get_current_log()["grad_norm"] > 0.01
    clipped = nn.utils.get_total_norm([p.grad for p in model.net_g.parameters()])
    assert clipped.item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_accumulated_parts_give_the_whole_batch(build, amp):
    torch.manual_seed(1)
    whole = build(train={"ema_decay": 0, "amp": amp})
    torch.manual_seed(1)
    parts = build(train={"ema_decay": 0, "amp": amp, "accumulate": 2})
    train(whole, 1, 3, clips=(0, 1, 2))
    train(parts, 1, 3, clips=(0, 1, 2))
    assert parts.get_current_log() == pytest.approx(whole.get_current_log(), rel=1e-5 if amp == "off" else 1e-2)


def test_losses_are_computed_in_float32(build):
    model = build(train={"amp": "bf16"})
    seen = []
    model.losses["l_pix"].register_forward_pre_hook(lambda _, inputs: seen.extend(x.dtype for x in inputs))
    train(model, 1, 1)
    assert seen == [torch.float32, torch.float32]


def test_average_follows_the_weights_and_copies_buffers(build):
    model = build(train={"ema_decay": 0.75})
    before = weights(model.net_g)
    assert same(before, weights(model.net_g_ema))
    train(model, 1, 1)
    after, average = weights(model.net_g), weights(model.net_g_ema)
    torch.testing.assert_close(average["first.weight"], 0.75 * before["first.weight"] + 0.25 * after["first.weight"])
    assert average["calls"] == after["calls"] == 1


def test_compiled_network_keeps_its_parameter_names(build, monkeypatch):
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, *a, **k: setattr(self, "_compiled_call_impl", self._call_impl)
    )
    model = build(train={"compile": True})
    train(model, 1, 1)
    assert set(model.net_g.state_dict()) == set(build().net_g.state_dict())
    assert model.net_g._compiled_call_impl is not None
    assert model.net_g_ema._compiled_call_impl is None


@pytest.mark.slow
def test_compiled_training_gives_the_losses_of_eager_training(build, monkeypatch):
    # Traced and differentiated by the compiler, but run without a C++ compiler, which not every machine has.
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    vsrm = {"type": "VSRM", "embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "scale": 2, "checkpoint": True}
    logs = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = build(network_g=vsrm | {"flow_network": "none"}, train={"compile": compiled})
        for iteration in (1, 2):
            train(model, iteration, iteration)
            logs.append(model.log_dict)
    for eager, compiled in zip(logs[:2], logs[2:], strict=True):
        assert compiled == pytest.approx(eager, rel=1e-4)


class TestFlow:
    NETWORK: dict = {"type": "TinyVSR", "scale": 2, "with_flow": True}  # noqa: RUF012

    def flow(self, model):
        return {name: value for name, value in weights(model.net_g).items() if "basic_module" in name}

    def test_frozen_then_trained(self, build):
        model = build(network_g=self.NETWORK, train={"fix_flow": 2, "flow_lr_mul": 0.125})
        before = self.flow(model)
        train(model, 1, 2)
        assert same(before, self.flow(model))
        assert all(p.requires_grad for p in model.net_g.parameters())
        assert not any(p in model.optimizer_g.state for p in model.optimizer_g.param_groups[1]["params"])
        train(model, 3, 3)
        assert not same(before, self.flow(model))

    def test_frozen_gradients_do_not_count_for_clipping(self, build):
        model = build(network_g=self.NETWORK, train={"fix_flow": 1})
        train(model, 1, 1)
        own = [p.grad for name, p in model.net_g.named_parameters() if not name.startswith("flow")]
        assert model.get_current_log()["grad_norm"] == pytest.approx(nn.utils.get_total_norm(own).item())
        train(model, 2, 2)
        every = [p.grad for p in model.net_g.parameters()]
        assert model.get_current_log()["grad_norm"] == pytest.approx(nn.utils.get_total_norm(every).item())

    def test_frozen_for_good_needs_no_gradient(self, build):
        model = build(network_g=self.NETWORK, train={"fix_flow": 8})
        assert not any(p.requires_grad for p in model.net_g.flow.parameters())
        before = self.flow(model)
        train(model, 1, 2)
        assert same(before, self.flow(model))


class TestDivergence:
    def test_loss_that_is_no_number_stops_before_the_weights_change(self, build):
        model = build()
        train(model, 1, 1)
        before, averaged = weights(model.net_g), weights(model.net_g_ema)
        with pytest.raises(UserError) as caught:
            step(model, 2, tiny.batch(4, 7, nan=[7]))
        message = str(caught.value)
        assert message.startswith(
            "iteration 2: l_pix is nan, l_freq is nan, grad_norm is nan, clips clip004, clip007; "
        )
        assert "--auto_resume" in message
        assert "\n" not in message
        for network, kept in ((model.net_g, before), (model.net_g_ema, averaged)):
            assert all(torch.equal(p, kept[name]) for name, p in network.named_parameters())

    def test_gradient_that_is_no_number_stops(self, build):
        model = build()
        model.net_g.first.weight.register_hook(lambda gradient: gradient * float("inf"))
        with pytest.raises(UserError, match=r"iteration 1: grad_norm is (nan|inf), clips clip000, clip001;"):
            train(model, 1, 1)

    def test_fp16_skips_an_overflowing_gradient(self, build):
        model = build(train={"amp": "fp16"})
        before, scale = weights(model.net_g), model.scaler.get_scale()
        model.net_g.first.weight.register_hook(lambda gradient: gradient * float("inf"))
        train(model, 1, 1)
        assert torch.equal(model.net_g.first.weight, before["first.weight"])
        assert model.scaler.get_scale() == scale / 2

    def test_fp16_that_always_overflows_stops(self, build):
        model = build(train={"amp": "fp16"})
        model.net_g.first.weight.register_hook(lambda gradient: gradient * float("inf"))
        model.scaler.load_state_dict(model.scaler.state_dict() | {"scale": 1.0})
        train(model, 1, 1)
        with pytest.raises(UserError, match="iteration 2: grad_norm is"):
            train(model, 2, 2)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"num_gpu": 1}, "num_gpu: 1, but PyTorch sees no CUDA device; set num_gpu: 0"),
        ({"train": {"pixel_opt": None, "frequency_opt": None}}, "neither pixel_opt nor frequency_opt is set"),
        ({"train": {"total_iter": 9}}, "scheduler.periods add up to 8, fewer than the 9 of total_iter"),
        ({"train": {"ema_decay": 1.0}}, "ema_decay is 1.0; it must be at least 0 and below 1"),
        ({"train": {"grad_clip": 0.0}}, "grad_clip is 0.0; give a norm above 0, or null"),
        ({"train": {"amp": False}}, "train: amp: expected one of off, bf16, fp16, got False"),
        ({"train": {"accumulate": 0}}, "accumulate is 0; it must be at least 1"),
        ({"train": {"optim": {}}}, "optim"),
        ({"val": {"tile": {"size": 8, "overlap": 8}}}, "overlap is 8; it must be at least 0 and below size, 8"),
        (
            {"val": {"window": {"num_frame": 2, "overlap": -1}}},
            "overlap is -1; it must be at least 0 and below num_frame",
        ),
        ({"logger": {"keep_checkpoints": 0}}, "keep_checkpoints is 0; keep at least 1, or null for all"),
        ({"network_g": {"type": "Bicubic", "scale": 2}}, "network_g: Bicubic has no parameters to train; test it"),
    ],
)
def test_faults_are_told(build, sections, message):
    with pytest.raises(UserError, match=re.escape(message)):
        build(**sections)


def test_several_gpus_without_a_launcher(build, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=r"num_gpu: 2 needs .*torchrun --nproc_per_node=2 -m vsrm_arch train"):
        build(num_gpu=2)


def test_network_of_another_scale_is_told(build):
    model = build(network_g={"type": "TinyVSR", "scale": 4})
    with pytest.raises(UserError, match=r"network_g: the output is \(2, 3, 3, 32, 32\), the ground truth .* scale"):
        train(model, 1, 1)


def test_vsrm_in_bfloat16_on_a_cpu_stays_close(build):
    """Within 0.005 of an output in [0, 1], a hundredth of the losses and a twentieth of the gradient."""
    network = {"type": "VSRM", "embed_dim": 16, "num_damb": 1, "num_s2tmb": 1, "d_state": 4, "flow_network": "none"}
    data = {"lq": torch.rand(1, 3, 3, 6, 7), "gt": torch.rand(1, 3, 3, 24, 28)}

    def run(amp):
        torch.manual_seed(1)
        model = build(scale=4, network_g=network, train={"amp": amp}, val={"amp": amp})
        enlarged = model.enlarge(data["lq"])
        step(model, 1, data)
        return enlarged, model.get_current_log()

    (exact, want), (rounded, got) = run("off"), run("bf16")
    assert 0 < (rounded - exact).abs().max() < 0.005
    norm = want.pop("grad_norm")
    assert got.pop("grad_norm") == pytest.approx(norm, rel=0.05)
    assert got == pytest.approx(want, rel=0.01)


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_trains_on_a_gpu(build, amp):
    model = build(num_gpu=1, train={"amp": amp})
    train(model, 1, 2)
    assert next(model.net_g.parameters()).is_cuda
