"""CUDA graphs of the propagation's steps. On a CPU a stand-in runs the recorded function anew at every replay."""

import copy
import gc
import logging
import pickle
import weakref
from typing import ClassVar

import pytest
import torch
from basicsr.archs.arch_util import flow_warp
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vsrm_arch.archs import IART, VSRM, BasicRecurrentSwin
from vsrm_arch.graphs import CudaRecorder, StepGraphs, step_graphs
from vsrm_arch.graphs.gradients import GradientSums, PassToken
from vsrm_arch.propagation import BRANCHES, propagate

SMALL = {"embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "d_state": 4}
SMALL_SWIN = {"embed_dim": 12, "depths": (2,), "num_heads": 2, "window": 4}


class Rerun:
    """Records nothing: a replay calls the function again and overwrites what it returned first."""

    def __init__(self):
        self.records = self.replays = 0

    def accepts(self, x):
        return True

    def record(self, function):
        self.records += 1
        function()
        result = function()

        def replay():
            self.replays += 1
            for old, new in zip(_tensors(result), _tensors(function()), strict=True):
                old.copy_(new)

        return replay, result


class Failing(Rerun):
    def record(self, function):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")


def _tensors(result):
    if isinstance(result, torch.Tensor):
        return [result]
    return [x for x in result[0] if x is not None]


class Alignment(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(2 * dim, dim, 3, padding=1)

    def forward(self, reference, target, flow):
        moved = flow_warp(reference, flow.movedim(1, -1).to(reference.dtype))
        return self.conv(torch.cat([moved, target], dim=1)).tanh()


class Backbone(nn.Module):
    """Uses one of its weights twice."""

    def __init__(self, dim):
        super().__init__()
        self.norm_in = nn.LayerNorm(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, clip):
        x = self.norm_in(clip.movedim(2, -1)).movedim(-1, 2)
        return self.conv(self.conv(x.sum(1)).sigmoid()) + clip[:, 1]


class Network(nn.Module):
    """Propagation with next to nothing around it."""

    def __init__(self, checkpoint, dim=4):
        super().__init__()
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.align = Alignment(dim)
        self.branches = nn.ModuleDict({name: Backbone(dim) for name in BRANCHES})
        self.checkpointed = BRANCHES if checkpoint is True else checkpoint or ()
        self.graphs = None

    def forward(self, lq):
        flow = lq[:, 1:, :2] - lq[:, :-1, :2]
        features = [self.conv_first(frame) for frame in lq.unbind(1)]
        outputs = propagate(features, flow, -flow, self.branches, self.align, self.checkpointed, self.graphs)
        return torch.stack(outputs, dim=1)


def _network(checkpoint=True, recorder=None, seed=0):
    """A network, with graphs if there is a recorder."""
    torch.manual_seed(seed)
    network = Network(checkpoint)
    if recorder is not None:
        network.graphs = StepGraphs(recorder)
    return network


def _gradients(network, *clips):
    network.zero_grad()
    sum(network(clip).square().mean() for clip in clips).backward()
    return {name: p.grad for name, p in network.named_parameters()}


def _assert_same(found, expected):
    """Sums over a clip's steps may be taken in another order."""
    for name, gradient in expected.items():
        if gradient is None:
            assert found[name] is None, name
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture
def clip():
    return torch.rand(1, 5, 3, 4, 6)


@pytest.fixture
def recorder():
    return Rerun()


class TestWithoutGradient:
    def test_outputs_are_the_same(self, clip, recorder):
        plain, graphed = _network(), _network(recorder=recorder)
        with torch.no_grad():
            for _ in range(3):
                assert torch.equal(graphed(clip), plain(clip))
        # The third and every later frame at once; the first and the second frame when they come again.
        assert recorder.records == 3 * len(BRANCHES)
        assert recorder.replays == (3 * 5 - 3) * len(BRANCHES)

    def test_a_length_is_no_other_step(self, recorder):
        network, plain = _network(recorder=recorder), _network()
        with torch.no_grad():
            for length in (4, 5, 7):
                clip = torch.rand(2, length, 3, 8, 8)
                assert torch.equal(network(clip), plain(clip))
        assert recorder.records == 3 * len(BRANCHES)

    def test_outputs_in_use_are_not_overwritten(self, clip, recorder):
        network, plain = _network(recorder=recorder), _network()
        with torch.no_grad():
            results = [network(clip * factor) for factor in (1, 0.5, 0.25)]
            for factor, result in zip((1, 0.5, 0.25), results, strict=True):
                assert torch.equal(result, plain(clip * factor))

    def test_weights_may_change_in_place(self, clip, recorder):
        network, other = _network(recorder=recorder), _network(seed=1)
        with torch.no_grad():
            network(clip)
            network(clip)
            network.load_state_dict(other.state_dict())
            records = recorder.records
            assert torch.equal(network(clip), other(clip))
        assert recorder.records == records

    def test_other_weights_and_precisions_are_other_steps(self, clip, recorder):
        network, plain = _network(recorder=recorder), _network()
        with torch.no_grad():
            for _ in range(3):
                assert torch.equal(network(clip), plain(clip))
                with torch.autocast("cpu", torch.bfloat16):
                    assert torch.equal(network(clip), plain(clip))
                with torch.inference_mode():
                    assert torch.equal(network(clip), plain(clip))
            assert recorder.records == 3 * 3 * len(BRANCHES)
            network.double()
            for _ in range(2):
                assert torch.equal(network(clip.double()), plain.double()(clip.double()))

    def test_sizes_not_used_for_long_are_dropped(self, recorder, monkeypatch):
        monkeypatch.setattr(step_graphs, "_MOST_BRANCHES", 8)
        network = _network(recorder=recorder)
        with torch.no_grad():
            for side in (4, 5, 6, 4, 6, 5):
                network(torch.rand(1, 4, 3, side, 4))
        assert len(network.graphs._branches) == 8
        assert {key[-2][-2] for key in network.graphs._branches} == {5, 6}
        slots = {key[0] for key in network.graphs._buffers._tensors}
        assert slots == {0, 1, 2, 3, 4}
        assert {key[1][-2] for key in network.graphs._buffers._tensors} == {5, 6}

    def test_large_frames_go_without(self, clip, recorder, monkeypatch):
        monkeypatch.setattr(step_graphs, "_MOST_PIXELS", 23)
        with torch.no_grad():
            _network(recorder=recorder)(clip)
        assert recorder.records == 0

    def test_no_frame_no_step(self, recorder):
        assert propagate([], torch.zeros(1, 0, 2, 3, 3), torch.zeros(1, 0, 2, 3, 3), {}, nn.Identity()) == []


class TestWhoSeesEveryOp:
    """They do not see what a graph does."""

    def test_dispatch_modes(self, clip, recorder):
        network, plain = _network(recorder=recorder), _network()
        counts = []
        for counted in (network, network, network, plain):
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                counted(clip)
            counts.append(counter.get_total_flops())
        assert len(set(counts)) == 1
        assert recorder.records == 0

    def test_hooks(self, clip, recorder):
        network = _network(recorder=recorder)
        calls = []
        handle = network.align.register_forward_hook(lambda *_: calls.append(1))
        with torch.no_grad():
            network(clip)
            network(clip)
            assert recorder.records == 0
            assert len(calls) == 2 * len(BRANCHES) * 7
            handle.remove()
            network(clip)
        assert recorder.records > 0

    def test_anomaly_detection(self, clip, recorder):
        network = _network(recorder=recorder)
        with torch.autograd.set_detect_anomaly(True):
            for _ in range(3):
                _gradients(network, clip)
        assert recorder.records == 0

    def test_functions_that_are_no_modules(self, recorder):
        features = [torch.rand(1, 2, 4, 4) for _ in range(4)]
        flows = torch.zeros(1, 3, 2, 4, 4)
        propagate(features, flows, flows, {"forward_1": lambda x: x[:, 1]}, lambda r, t, f: r,
                  graphs=StepGraphs(recorder))  # fmt: skip
        assert recorder.records == 0

    def test_compilers(self, recorder):
        network = _network(recorder=recorder)
        clip = torch.rand(1, 2, 3, 8, 8)
        seen = []

        def eager(graph, _):
            seen.append(len(graph.graph.nodes))
            return graph.forward

        with torch.no_grad():
            torch.testing.assert_close(torch.compile(network, backend=eager)(clip), network(clip))
        assert seen
        assert not any(branch.graphs for branch in network.graphs._branches.values())


class TestTraining:
    @pytest.mark.parametrize("checkpoint", [True, ["forward_1", "backward_2"]])
    def test_gradients_are_the_same(self, clip, recorder, checkpoint):
        plain, graphed = _network(checkpoint), _network(checkpoint, recorder)
        for _ in range(4):
            _assert_same(_gradients(graphed, clip), _gradients(plain, clip))
        branches = len(BRANCHES) if checkpoint is True else len(checkpoint)
        # Forward and backward; the first two iterations run without.
        assert recorder.records == 2 * 3 * branches
        assert recorder.replays == 2 * 2 * 5 * branches

    def test_branches_without_checkpointing_go_without(self, clip, recorder):
        network = _network(checkpoint=False, recorder=recorder)
        for _ in range(3):
            _gradients(network, clip)
        assert recorder.records == 0

    @pytest.mark.parametrize(
        ("arch", "options"),
        [(VSRM, SMALL | {"flow_network": "none"}), (IART, SMALL_SWIN), (BasicRecurrentSwin, SMALL_SWIN)],
    )
    def test_of_the_full_architecture(self, clip, recorder, arch, options):
        plain, graphed = (arch(**options, checkpoint=True, cuda_graphs=on) for on in (False, True))
        graphed.load_state_dict(plain.state_dict())
        graphed.graphs = StepGraphs(recorder)
        for _ in range(3):
            _assert_same(_gradients(graphed, clip), _gradients(plain, clip))
        assert recorder.replays == 2 * 5 * len(BRANCHES)

    def test_in_float64_to_the_last_digits(self, recorder):
        plain, graphed = _network().double(), _network(recorder=recorder).double()
        clip = torch.rand(2, 5, 3, 6, 7, dtype=torch.float64)
        for _ in range(3):
            expected = _gradients(plain, clip)
            for name, gradient in _gradients(graphed, clip).items():
                torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-14)

    def test_autocast(self, clip, recorder):
        plain, graphed = _network(), _network(recorder=recorder)

        def gradients(network):
            network.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                output = network(clip)
            output.float().square().mean().backward()
            return output, {name: p.grad for name, p in network.named_parameters()}

        for _ in range(4):
            (found, found_gradients), (expected, expected_gradients) = gradients(graphed), gradients(plain)
            assert torch.equal(found, expected)
            for name, gradient in expected_gradients.items():
                assert found_gradients[name].dtype == torch.float32
                difference = (found_gradients[name] - gradient).norm() / gradient.norm()
                assert difference < 0.02, f"{name}: {difference}"
        assert recorder.replays == 2 * 2 * 5 * len(BRANCHES)

    def test_gradients_add_up(self, clip, recorder):
        """Two passes before a backward pass, and two backward passes before the gradients are set to zero."""
        plain, graphed = _network(), _network(recorder=recorder)
        other = torch.rand_like(clip)
        for _ in range(3):
            _assert_same(_gradients(graphed, clip, other), _gradients(plain, clip, other))
        for network in (plain, graphed):
            network(other).mean().backward()
        _assert_same(*({n: p.grad for n, p in network.named_parameters()} for network in (graphed, plain)))

    def test_passes_without_gradient_in_between(self, clip, recorder):
        plain, graphed = _network(), _network(recorder=recorder)
        expected = _gradients(plain, clip)
        for _ in range(4):
            graphed.zero_grad()
            loss = graphed(clip).square().mean()
            with torch.no_grad():
                for factor in (0.5, 0.25):
                    assert torch.equal(graphed(factor * clip), plain(factor * clip))
            loss.backward()
            _assert_same({n: p.grad for n, p in graphed.named_parameters()}, expected)

    @pytest.mark.parametrize("seen", range(4))
    def test_a_backward_pass_that_broke_off_leaves_nothing(self, clip, recorder, seen):
        plain, graphed = _network(), _network(recorder=recorder)
        for _ in range(seen):
            _gradients(graphed, clip)

        def fail(gradient):
            raise ValueError("stop")

        broken = clip.clone().requires_grad_()
        features = []
        handle = graphed.conv_first.register_forward_hook(lambda *a: features.append(a[2].register_hook(fail)))
        with pytest.raises(ValueError, match="stop"):
            graphed(broken).mean().backward()
        handle.remove()
        for _ in range(3):
            _assert_same(_gradients(graphed, clip), _gradients(plain, clip))

    def test_gradients_of_the_clip_alone_leave_nothing(self, clip, recorder):
        plain, graphed = _network(), _network(recorder=recorder)
        clip.requires_grad_()
        (expected,) = torch.autograd.grad(plain(clip).square().mean(), clip)
        for _ in range(4):
            loss = graphed(clip).square().mean()
            (found,) = torch.autograd.grad(loss, clip, retain_graph=True)
            torch.testing.assert_close(found, expected)
            graphed.zero_grad()
            loss.backward()
            _assert_same({n: p.grad for n, p in graphed.named_parameters()}, _gradients(plain, clip))

    def test_frozen_weights_get_none(self, clip, recorder):
        plain, graphed = _network(), _network(recorder=recorder)
        for _ in range(3):
            _gradients(graphed, clip)
        for network in (plain, graphed):
            network.align.requires_grad_(False)
            network.branches["forward_1"].requires_grad_(False)
            network.branches["backward_2"].norm_in.requires_grad_(False)
            network.conv_first.requires_grad_(False)
        for _ in range(4):
            _assert_same(_gradients(graphed, clip), _gradients(plain, clip))
        for network in (plain, graphed):
            network.requires_grad_(True)
        _assert_same(_gradients(graphed, clip), _gradients(plain, clip))

    def test_nothing_to_train_but_the_clip(self, clip, recorder):
        graphed, plain = _network(recorder=recorder).requires_grad_(False), _network()
        for needed in (False, True):
            clip.requires_grad_(needed)
            for _ in range(4):
                output = graphed(clip)
                assert torch.equal(output, plain(clip))
                assert output.requires_grad == needed
        (found,) = torch.autograd.grad(output.mean(), clip)
        (expected,) = torch.autograd.grad(plain(clip).mean(), clip)
        torch.testing.assert_close(found, expected)

    def test_what_no_step_used_gets_none(self, recorder):
        """The alignment, on clips of one frame."""
        plain, graphed = _network(), _network(recorder=recorder)
        for _ in range(4):
            clip = torch.rand(1, 1, 3, 8, 8)
            _assert_same(_gradients(graphed, clip), _gradients(plain, clip))
        assert graphed.align.conv.weight.grad is None

    def test_every_weight_gets_its_gradient_once(self, clip, recorder):
        network = _network(recorder=recorder)
        calls = []
        for name, parameter in network.named_parameters():
            parameter.register_post_accumulate_grad_hook(lambda _, name=name: calls.append(name))
        for _ in range(4):
            calls.clear()
            _gradients(network, clip)
            assert sorted(calls) == sorted(name for name, _ in network.named_parameters())

    def test_a_recomputed_network(self, clip, recorder):
        plain, graphed = _network(), _network(recorder=recorder)
        for _ in range(4):
            graphed.zero_grad()
            output = torch.utils.checkpoint.checkpoint(graphed, clip, use_reentrant=False)
            output.square().mean().backward()
            _assert_same({n: p.grad for n, p in graphed.named_parameters()}, _gradients(plain, clip))

    def test_second_derivatives_are_refused(self, clip, recorder):
        network = _network(recorder=recorder)
        for _ in range(2):
            _gradients(network, clip)
        (gradient,) = torch.autograd.grad(network(clip.requires_grad_()).square().mean(), clip, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.sum().backward()

    def test_training_goes_the_same_way(self, clip, recorder):
        plain, graphed = _network(), _network(recorder=recorder)
        losses = []
        for network in (plain, graphed):
            optimizer = torch.optim.Adam(network.parameters(), 1e-3)
            losses.append([])
            for _ in range(6):
                optimizer.zero_grad()
                loss = network(clip).square().mean()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                losses[-1].append(loss.item())
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)


class TestCache:
    def _used(self, clip, recorder):
        network = _network(recorder=recorder)
        with torch.no_grad():
            network(clip)
            network(clip)
        for _ in range(3):
            _gradients(network, clip)
        return network

    def test_is_no_part_of_the_state(self, clip, recorder):
        assert self._used(clip, recorder).state_dict().keys() == _network().state_dict().keys()

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
    def test_copies_start_without(self, clip, recorder, copied):
        network = self._used(clip, recorder)
        other = copied(network)
        assert other.graphs is not network.graphs
        assert not other.graphs._branches
        with torch.no_grad():
            assert torch.equal(other(clip), network(clip))

    def test_does_not_keep_the_network(self, clip, recorder):
        network = self._used(clip, recorder)
        died = weakref.ref(network.align)
        del network
        gc.collect()
        assert died() is None

    def test_a_backward_pass_outlives_it(self, clip, recorder):
        network, plain = self._used(clip, recorder), _network()
        network.zero_grad()
        loss = network(clip).square().mean()
        network.graphs._branches.clear()
        loss.backward()
        _assert_same({n: p.grad for n, p in network.named_parameters()}, _gradients(plain, clip))


class TestFailure:
    def test_goes_on_without(self, clip, caplog):
        plain, graphed = _network(), _network(recorder=Failing())
        with caplog.at_level(logging.WARNING, "basicsr.vsrm_arch"):
            for _ in range(3):
                with torch.no_grad():
                    assert torch.equal(graphed(clip), plain(clip))
                _assert_same(_gradients(graphed, clip), _gradients(plain, clip))
        assert len(caplog.messages) == 1
        assert "operation not permitted when stream is capturing)" in caplog.messages[0]
        assert "cuda_graphs: false in network_g" in caplog.messages[0]

    def test_of_the_backward_pass_alone(self, clip, recorder):
        class Second(Rerun):
            def record(self, function):
                if self.records % 2:
                    self.records += 1
                    function()
                    raise torch.OutOfMemoryError("no memory")
                return super().record(function)

        plain, graphed = _network(), _network(recorder=Second())
        for _ in range(4):
            _assert_same(_gradients(graphed, clip), _gradients(plain, clip))

    def test_an_error_of_the_step_itself_is_raised(self, recorder):
        network = _network(recorder=recorder)
        with torch.no_grad(), pytest.raises(RuntimeError, match="channels"):
            network(torch.rand(1, 4, 4, 8, 8))


def test_off():
    assert VSRM(**SMALL, flow_network="none", cuda_graphs=False).graphs is None


def test_the_cpu_is_not_recorded():
    assert not CudaRecorder().accepts(torch.zeros(1))


@pytest.mark.gpu
class TestOnTheGPU:
    SIZES: ClassVar = {"embed_dim": 32, "num_damb": 1, "num_s2tmb": 2}

    def _pair(self, checkpoint=True):
        torch.manual_seed(0)
        plain = VSRM(**self.SIZES, checkpoint=checkpoint, cuda_graphs=False).cuda()
        graphed = VSRM(**self.SIZES, checkpoint=checkpoint).cuda()
        graphed.load_state_dict(plain.state_dict())
        return plain, graphed

    @staticmethod
    def _graphs(network):
        return [graph for branch in network.graphs._branches.values() for graph in branch.graphs.values()]

    @staticmethod
    def _assert_close(found, expected, limit):
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            if gradient is None:
                assert found[name] is None, name
                continue
            difference = (found[name] - gradient).norm() / (gradient.norm() + 1e-12)
            assert difference < limit or gradient.norm() < 1e-7, f"{name}: {difference}"

    @pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
    def test_outputs_are_the_same(self, dtype):
        plain, graphed = self._pair()
        clips = [torch.rand(1, length, 3, 64, 64, device="cuda") for length in (5, 5, 8)]
        with torch.no_grad(), torch.autocast("cuda", dtype, enabled=dtype is not None):
            for clip in clips + clips:
                torch.testing.assert_close(graphed(clip), plain(clip), rtol=1e-3, atol=1e-3)
        assert len(self._graphs(graphed)) == 3 * len(BRANCHES)
        assert all(self._graphs(graphed))

    @pytest.mark.parametrize("arch", [IART, BasicRecurrentSwin])
    def test_of_the_baselines(self, arch):
        plain, graphed = (arch(**SMALL_SWIN, checkpoint=True, cuda_graphs=on).cuda() for on in (False, True))
        graphed.load_state_dict(plain.state_dict())
        clip = torch.rand(1, 5, 3, 16, 20, device="cuda")
        for _ in range(4):
            self._assert_close(_gradients(graphed, clip), _gradients(plain, clip), 1e-3)
        assert len(self._graphs(graphed)) == 3 * len(BRANCHES)
        assert all(self._graphs(graphed))

    @pytest.mark.parametrize("dtype", [None, torch.bfloat16])
    def test_gradients_are_the_same(self, dtype):
        plain, graphed = self._pair()
        clip = torch.rand(1, 5, 3, 64, 64, device="cuda")

        def gradients(network):
            network.zero_grad()
            with torch.autocast("cuda", dtype, enabled=dtype is not None):
                output = network(clip)
            output.float().square().mean().backward()
            return {name: p.grad for name, p in network.named_parameters()}

        # Rounding in bfloat16, and sums whose order changes from run to run.
        limit = 0.05 if dtype else 1e-3
        for _ in range(5):
            self._assert_close(gradients(graphed), gradients(plain), limit)
        assert len(self._graphs(graphed)) == 3 * len(BRANCHES)
        assert all(self._graphs(graphed))

    def test_a_step_that_waits_for_the_device_goes_on_without(self, caplog):
        class Waiting(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones((), device="cuda"))

            def forward(self, clip):
                return clip[:, 1] * self.weight * (clip.abs().sum().item() >= 0)

        class Nearest(nn.Module):
            def forward(self, reference, target, flow):
                return reference

        graphs = StepGraphs()
        features = list(torch.rand(4, 1, 2, 8, 8, device="cuda"))
        flows = torch.zeros(1, 3, 2, 8, 8, device="cuda")
        branch = {"forward_1": Waiting()}
        stream = torch.cuda.current_stream()
        with torch.no_grad():
            for _ in range(3):
                outputs = propagate(features, flows, flows, branch, Nearest(), graphs=graphs)
                for output, feature in zip(outputs, features, strict=True):
                    assert torch.equal(output, feature)
        assert len(caplog.messages) == 1
        assert torch.cuda.current_stream() == stream
        # Neither random numbers nor the allocator nor the next capture mind.
        torch.rand(3, device="cuda")
        torch.cuda.empty_cache()
        self.test_outputs_are_the_same(None)


def test_interleaved_passes_lose_no_gradient_unnoticed(monkeypatch):
    """Steps of two passes over clips that alternate in one backward pass, as those of several threads may."""
    sums, first, second = GradientSums([nn.Parameter(torch.zeros(()))]), PassToken(), PassToken()
    monkeypatch.setattr(torch._C, "_current_graph_task_id", lambda: 7)
    for token in (first, second):
        sums.open(token, sums.add([None]))
    sums.hand_out(second)
    sums.open(first, frozenset())
    with pytest.raises(RuntimeError, match="at once"):
        sums.hand_out(first)
    # The next backward pass of either is sound.
    monkeypatch.setattr(torch._C, "_current_graph_task_id", lambda: 8)
    sums.open(first, frozenset({0}))
    sums.add([torch.tensor(3.0)])
    assert sums.hand_out(first) == [torch.tensor(3.0)]
