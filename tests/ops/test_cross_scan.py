import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_testing import assert_same, cross_inputs, outputs_and_gradients, peak_memory, size_in_bytes
from torch.utils.checkpoint import checkpoint

from vsrm_arch.ops.cross_scan import BACKENDS, cross_scan, portable
from vsrm_arch.ops.selective_scan import selective_scan

BACKENDS_HERE = ["naive", "portable"]


# Smoke


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("softplus", [True, False])
def test_smoke(device, backend, softplus):
    inputs = cross_inputs(5, 9, 3, 4, dtype=torch.float32, device=device)
    inputs["delta"] = inputs["delta"].abs()
    for name, tensor in outputs_and_gradients(cross_scan, inputs, backend=backend, delta_softplus=softplus).items():
        assert torch.isfinite(tensor).all(), name


# Exceptions


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("u", (9, 3), r"u: expected a tensor \(P, K, E\) that is not empty, got shape \(9, 3\)"),
        ("delta", (5, 8, 3), r"delta: expected shape \(P, K, E\) = \(5, 9, 3\), got \(5, 8, 3\)"),
        ("A", (4, 3), r"A: expected shape \(E, N\) = \(3, 3\), got \(4, 3\)"),
        ("B", (5, 4, 9), r"B: expected shape \(P, K, N\) = \(5, 9, 4\), got \(5, 4, 9\)"),
        ("C", (5, 9, 4), r"C: expected shape \(P, N\) = \(5, 4\), got \(5, 9, 4\)"),
        ("D", (1,), r"D: expected shape \(E\) = \(3,\), got \(1,\)"),
        ("delta_bias", (1,), r"delta_bias: expected shape \(E\) = \(3,\), got \(1,\)"),
    ],
)
def test_wrong_shape(name, shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        cross_scan(**{**cross_inputs(5, 9, 3, 4), name: torch.zeros(shape)})


def test_wrong_device():
    inputs = cross_inputs(5, 9, 3, 4)
    with pytest.raises(ValueError, match=r"^C: expected a tensor on cpu, got one on meta$"):
        cross_scan(**{**inputs, "C": inputs["C"].to("meta")})


# Shapes and dtypes


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (7, 9, 2, 5)])
def test_shape_and_dtype(device, backend, dtype, shape):
    results = outputs_and_gradients(cross_scan, cross_inputs(*shape, dtype=dtype, device=device), backend=backend)
    assert results["output"].shape == (shape[0], shape[2])
    assert all(tensor.dtype == dtype for tensor in results.values())


# Numbers worked out by hand


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_numbers(backend):
    # The state halves from token to token: 1/4 + 2/2 + 4, read by C = 3.
    u, ones = torch.tensor([1.0, 2.0, 4.0])[None, :, None], torch.ones(1, 3, 1)
    run = {"A": torch.full((1, 1), -math.log(2)), "B": ones, "C": torch.full((1, 1), 3.0), "backend": backend}
    y = cross_scan(u, ones, delta_softplus=False, **run)
    assert y.item() == pytest.approx(3 * 5.25, rel=1e-6)
    # D reads the last token; softplus(log(e - 1)) = 1.
    bias = torch.tensor([math.log(math.e - 1)])
    y = cross_scan(u, 0 * ones, D=torch.tensor([10.0]), delta_bias=bias, **run)
    assert y.item() == pytest.approx(3 * 5.25 + 40, rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_is_the_last_step_of_a_selective_scan(backend):
    inputs = cross_inputs(6, 9, 3, 4)
    C = inputs["C"][:, None].expand(-1, 9, -1)
    want = selective_scan(**{**inputs, "C": C}, backend="naive")[:, -1]
    torch.testing.assert_close(cross_scan(**inputs, backend=backend), want)


# Gradients


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("without", [(), ("D", "delta_bias")])
@pytest.mark.parametrize("softplus", [True, False])
def test_gradcheck(monkeypatch, device, backend, without, softplus):
    monkeypatch.setattr(portable, "_BLOCK", {"cpu": 1, "other": 1})
    inputs = cross_inputs(3, 4, 2, 2, device=device, without=without)
    leaves = tuple(None if t is None else t.requires_grad_() for t in inputs.values())
    options = {"delta_softplus": softplus, "backend": backend}
    assert torch.autograd.gradcheck(lambda *tensors: cross_scan(*tensors, **options), leaves)


# Portable against naive


@pytest.mark.parametrize("shape", [(1, 1, 3, 2), (5, 2, 1, 1), (33, 9, 7, 3), (257, 9, 4, 16)])
@pytest.mark.parametrize("block", [1, 2000, 1 << 20])
@pytest.mark.parametrize("without", [(), ("D", "delta_bias")])
def test_portable_is_naive(monkeypatch, device, poisoned_memory, shape, block, without):
    monkeypatch.setattr(portable, "_BLOCK", {"cpu": block, "other": block})
    inputs = cross_inputs(*shape, device=device, without=without)
    for softplus in (True, False):
        inputs["delta"] = inputs["delta"] if softplus else inputs["delta"].abs()
        want = outputs_and_gradients(cross_scan, inputs, backend="naive", delta_softplus=softplus)
        got = outputs_and_gradients(cross_scan, inputs, backend="portable", delta_softplus=softplus)
        assert_same(got, want, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_portable_is_naive_in(device, poisoned_memory, dtype):
    inputs = cross_inputs(100, 9, 8, 16, dtype=dtype, device=device)
    want = outputs_and_gradients(cross_scan, inputs, backend="naive")
    got = outputs_and_gradients(cross_scan, inputs, backend="portable")
    assert_same(got, want, dtype)


@pytest.mark.parametrize("scale", [1e4, 1e-8])
def test_extreme_decay_stays_finite(device, scale):
    inputs = cross_inputs(20, 9, 3, 2, dtype=torch.float32, device=device)
    inputs["A"] = inputs["A"] * scale
    want = outputs_and_gradients(cross_scan, inputs, backend="naive")
    assert_same(outputs_and_gradients(cross_scan, inputs, backend="portable"), want, torch.float32)


def test_portable_saves_its_inputs_only():
    inputs = {name: t.requires_grad_() for name, t in cross_inputs(4096, 9, 48, 16, dtype=torch.float32).items()}
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        cross_scan(**inputs, backend="portable")
    assert {t.data_ptr() for t in saved} <= {t.data_ptr() for t in inputs.values()}


def test_portable_holds_a_part_of_the_states_at_a_time():
    inputs = {name: t.requires_grad_() for name, t in cross_inputs(20_000, 9, 48, 16, dtype=torch.float32).items()}
    states = 20_000 * 9 * 48 * 16 * 4
    forward, y = peak_memory(lambda: cross_scan(**inputs, backend="portable"))
    assert forward < states / 8
    grad = torch.ones_like(y)
    backward, _ = peak_memory(lambda: y.backward(grad))
    assert backward < states / 8 + size_in_bytes(*(t.grad for t in inputs.values()))


# Properties

points = st.tuples(st.integers(1, 8), st.integers(1, 10), st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=25, deadline=None)
@given(shape=points, seed=st.integers(0, 99))
def test_points_are_independent(shape, seed):
    torch.manual_seed(seed)
    inputs = cross_inputs(*shape)
    together = cross_scan(**inputs, backend="portable")
    for p in range(shape[0]):
        alone = {n: t[p : p + 1] if n in ("u", "delta", "B", "C") else t for n, t in inputs.items()}
        torch.testing.assert_close(cross_scan(**alone, backend="portable")[0], together[p])


@settings(max_examples=25, deadline=None)
@given(shape=points, seed=st.integers(0, 99), factor=st.floats(-3, 3))
def test_linear_in_u_and_in_c(shape, seed, factor):
    torch.manual_seed(seed)
    inputs, other = cross_inputs(*shape), cross_inputs(*shape)
    y = cross_scan(**inputs, backend="portable")
    z = cross_scan(**{**inputs, "u": other["u"]}, backend="portable")
    both = cross_scan(**{**inputs, "u": inputs["u"] + factor * other["u"]}, backend="portable")
    torch.testing.assert_close(both, y + factor * z)
    inputs["D"] = None
    y = cross_scan(**inputs, backend="portable")
    torch.testing.assert_close(cross_scan(**{**inputs, "C": factor * inputs["C"]}, backend="portable"), factor * y)


# With PyTorch's machinery


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_autocast_leaves_the_recurrence_in_float32(backend):
    inputs = cross_inputs(20, 9, 3, 4, dtype=torch.float32)
    want = outputs_and_gradients(cross_scan, inputs, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        got = outputs_and_gradients(cross_scan, inputs, backend=backend)
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name


def test_under_checkpoint_and_compile():
    inputs = cross_inputs(20, 9, 3, 4)

    def recomputed(**tensors):
        return checkpoint(cross_scan, **tensors, backend="portable", use_reentrant=False)

    want = outputs_and_gradients(cross_scan, inputs, backend="portable")
    assert_same(outputs_and_gradients(recomputed, inputs), want, torch.float64)
    torch.compiler.reset()
    compiled = torch.compile(cross_scan, backend="eager")
    assert_same(outputs_and_gradients(compiled, inputs, backend="portable"), want, torch.float64)


# GPU


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 8, 4), (5000, 9, 24, 16)])
def test_on_a_gpu(dtype, shape):
    inputs = cross_inputs(*shape, dtype=dtype, device="cuda")
    want = outputs_and_gradients(cross_scan, inputs, backend="naive")
    got = outputs_and_gradients(cross_scan, inputs, backend="portable")
    assert_same(got, want, dtype if dtype == torch.bfloat16 else torch.float16)


def test_backends_are_listed():
    assert BACKENDS.names == ("triton", "portable", "naive")
