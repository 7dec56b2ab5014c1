"""Two trainings from one seed: the same bits."""

from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils import set_random_seed
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from vsrm_arch.errors import UserError
from vsrm_arch.models.determinism import use_deterministic_algorithms

SAMPLE = Path(__file__).parents[2] / "options" / "sample" / "train_VSRM_sample.yml"


@pytest.fixture(autouse=True)
def _settings(monkeypatch):
    """Puts back what the option changes in the whole process."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    yield
    torch.use_deterministic_algorithms(False)


def two_steps(build, **sections):
    """Outputs and gradients of two training steps of the sample's network, by name, and its weights after them."""
    set_random_seed(7)
    network = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))["network_g"]
    model = build(scale=4, network_g=network, deterministic=True, **sections)
    outputs = []
    model.net_g.register_forward_hook(lambda _, inputs, output: outputs.append(output.detach()))
    gradients = {}
    for iteration in (1, 2):
        model.update_learning_rate(iteration)
        model.feed_data({"lq": torch.rand(1, 2, 3, 6, 6), "gt": torch.rand(1, 2, 3, 24, 24), "key": ["clip"]})
        model.optimize_parameters(iteration)
        gradients |= {f"{name} {iteration}": p.grad.clone() for name, p in model.net_g.named_parameters()}
    return dict(enumerate(outputs)) | gradients | model.net_g.state_dict()


def assert_the_same_bits(first, second):
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_two_steps_of_the_sample_again(build, amp):
    first, second = (two_steps(build, train={"amp": amp}) for _ in range(2))
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.equal(first[0], first[1])
    assert_the_same_bits(first, second)


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_two_steps_of_the_sample_again_on_a_gpu(build, amp):
    first, second = (two_steps(build, num_gpu=1, train={"amp": amp}) for _ in range(2))
    assert first[0].is_cuda
    assert_the_same_bits(first, second)


@pytest.mark.gpu
def test_the_output_of_a_network_with_flow_again_on_a_gpu():
    use_deterministic_algorithms()
    vsrm = build_network({"type": "VSRM", "embed_dim": 16, "num_damb": 1, "num_s2tmb": 1}).cuda().eval()
    lq = torch.rand(1, 4, 3, 24, 40, device="cuda")
    with torch.no_grad():
        assert torch.equal(vsrm(lq), vsrm(lq))


def test_what_it_sets(build):
    build()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
    build(deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


@ARCH_REGISTRY.register()
class Putting(nn.Module):
    """Uses an operation that PyTorch has no deterministic form of, on no device; or fails otherwise."""

    def __init__(self, fails: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.fails = fails

    def forward(self, lq):
        if self.fails:
            raise RuntimeError("sides must be even")
        lq.put_(torch.tensor([0]), torch.zeros(1))
        return lq.repeat_interleave(2, -1).repeat_interleave(2, -2) * self.weight


def test_an_operation_that_is_not_deterministic(build):
    model = build(network_g={"type": "Putting"}, deterministic=True)
    model.feed_data({"lq": torch.rand(1, 2, 3, 4, 4), "gt": torch.rand(1, 2, 3, 8, 8)})
    message = r"^deterministic: PyTorch's put_ is not; set deterministic: false, or, .*fix_flow to total_iter$"
    with pytest.raises(UserError, match=message):
        model.optimize_parameters(1)


def test_other_errors_stay_what_they_are(build):
    model = build(network_g={"type": "Putting", "fails": True}, deterministic=True)
    model.feed_data({"lq": torch.rand(1, 2, 3, 4, 4), "gt": torch.rand(1, 2, 3, 8, 8)})
    with pytest.raises(RuntimeError, match="sides must be even"):
        model.optimize_parameters(1)
