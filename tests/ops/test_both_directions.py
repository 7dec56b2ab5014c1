"""Both directions of a sequence at once, against one after the other."""

import pytest
import torch
from ops_testing import assert_same, outputs_and_gradients, scan_inputs

from vsrm_arch.ops.causal_conv1d import causal_conv1d
from vsrm_arch.ops.causal_conv1d.fused import causal_conv1d_fused
from vsrm_arch.ops.selective_scan import fused, selective_scan

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ORDERS = [("s2t", 1), ("t2s", 3)]


def two(inputs):
    return {name: torch.stack((t, t.flip(0) * 0.9)) for name, t in inputs.items()}


@pytest.mark.parametrize(("order", "frames"), ORDERS)
@pytest.mark.parametrize("backend", ["portable", "naive"])
def test_scan(backend, order, frames):
    options = {"scan_order": order, "num_frames": frames, "backend": backend}

    def together(**tensors):
        return selective_scan(**tensors, reverse="both", **options)

    def one_by_one(**tensors):
        directions = ({name: t[i] for name, t in tensors.items()} for i in range(2))
        return torch.stack([selective_scan(**d, reverse=bool(i), **options) for i, d in enumerate(directions)])

    inputs = two(scan_inputs(2, 9, 4, 3))
    assert_same(outputs_and_gradients(together, inputs), outputs_and_gradients(one_by_one, inputs), torch.float64)


@pytest.mark.parametrize(("order", "frames"), ORDERS)
def test_fused_scan(monkeypatch, order, frames):
    pytest.importorskip("triton")
    monkeypatch.setattr(fused, "_PROGRAMS", 2)

    def run(tensors, reverse):
        return fused.selective_scan_fused(*tensors, True, reverse, order, frames)

    def together(**tensors):
        return run(tensors.values(), "both")

    def one_by_one(**tensors):
        return torch.stack([run([t[i] for t in tensors.values()], bool(i)) for i in range(2)])

    inputs = two(scan_inputs(1, 12, 20, 4, dtype=torch.float32, device=DEVICE))
    assert_same(outputs_and_gradients(together, inputs), outputs_and_gradients(one_by_one, inputs), torch.float32)


@pytest.mark.parametrize(("order", "frames"), ORDERS)
@pytest.mark.parametrize("backend", ["portable", "naive", "triton"])
def test_convolution(backend, order, frames):
    def run(x, weight, bias, reverse):
        if backend == "triton":
            pytest.importorskip("triton")
            return causal_conv1d_fused(x, weight, bias, "silu", reverse, order, frames)
        return causal_conv1d(x, weight, bias, "silu", reverse, order, frames, backend=backend)

    def together(x, weight, bias):
        return run(x, weight, bias, "both")

    def one_by_one(x, weight, bias):
        return torch.stack([run(x, weight[i], bias[i], bool(i)) for i in range(2)])

    shapes = {"x": (2, 9, 5), "weight": (2, 5, 4), "bias": (2, 5)}
    inputs = {name: torch.randn(shape, device=DEVICE) for name, shape in shapes.items()}
    assert_same(outputs_and_gradients(together, inputs), outputs_and_gradients(one_by_one, inputs), torch.float32)


def test_bad_inputs():
    inputs = two(scan_inputs(1, 6, 4, 3))
    with pytest.raises(ValueError, match=r"D: expected shape \(2, E\) = \(2, 4\), got \(4,\)"):
        selective_scan(**(inputs | {"D": inputs["D"][0]}), reverse="both")
    with pytest.raises(ValueError, match=r"weight: expected a tensor \(2, E, K\)"):
        causal_conv1d(torch.ones(1, 3, 2), torch.ones(2, 4), reverse="both")
