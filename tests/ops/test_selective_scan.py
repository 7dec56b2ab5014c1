import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_testing import assert_same, outputs_and_gradients, peak_memory, scan_inputs, size_in_bytes
from torch.utils.checkpoint import checkpoint

from vsrm_arch.ops.selective_scan import BACKENDS, mamba_ssm, portable, selective_scan

BACKENDS_HERE = ["naive", "portable"]
ORDERS = [("s2t", False), ("s2t", True), ("t2s", False), ("t2s", True)]


def halving(u, **options):
    """A scan of one channel whose state halves from step to step, as a list."""
    u = torch.tensor(u)[None, :, None]
    ones = torch.ones_like(u)
    A = torch.full((1, 1), -math.log(2))
    return selective_scan(u, ones, A, ones, ones, delta_softplus=False, **options)[0, :, 0].tolist()


# Smoke


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
@pytest.mark.parametrize("softplus", [True, False])
def test_smoke(device, backend, scan_order, reverse, softplus):
    inputs = scan_inputs(2, 12, 3, 4, dtype=torch.float32, device=device)
    inputs["delta"] = inputs["delta"].abs()
    options = {"delta_softplus": softplus, "reverse": reverse, "scan_order": scan_order, "num_frames": 3}
    for name, tensor in outputs_and_gradients(selective_scan, inputs, backend=backend, **options).items():
        assert torch.isfinite(tensor).all(), name


# Exceptions


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("u", (12, 3), r"u: expected a tensor \(B, L, E\) that is not empty, got shape \(12, 3\)"),
        ("u", (2, 0, 3), r"u: expected a tensor \(B, L, E\) that is not empty, got shape \(2, 0, 3\)"),
        ("delta", (2, 11, 3), r"delta: expected shape \(B, L, E\) = \(2, 12, 3\), got \(2, 11, 3\)"),
        ("A", (4, 3), r"A: expected shape \(E, N\) = \(3, 3\), got \(4, 3\)"),
        ("A", (3,), r"A: expected a tensor \(E, N\) that is not empty, got shape \(3,\)"),
        ("B", (2, 4, 12), r"B: expected shape \(B, L, N\) = \(2, 12, 4\), got \(2, 4, 12\)"),
        ("C", (2, 12), r"C: expected shape \(B, L, N\) = \(2, 12, 4\), got \(2, 12\)"),
        ("D", (1,), r"D: expected shape \(E\) = \(3,\), got \(1,\)"),
        ("z", (2, 12, 4), r"z: expected shape \(B, L, E\) = \(2, 12, 3\), got \(2, 12, 4\)"),
        ("delta_bias", (3, 1), r"delta_bias: expected shape \(E\) = \(3,\), got \(3, 1\)"),
    ],
)
def test_wrong_shape(name, shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        selective_scan(**{**scan_inputs(2, 12, 3, 4), name: torch.zeros(shape)})


def test_wrong_device():
    inputs = scan_inputs(2, 12, 3, 4)
    with pytest.raises(ValueError, match=r"^B: expected a tensor on cpu, got one on meta$"):
        selective_scan(**{**inputs, "B": inputs["B"].to("meta")})


def test_integers():
    inputs = scan_inputs(2, 12, 3, 4)
    with pytest.raises(ValueError, match=r"^u: expected a floating-point tensor, got torch.int64$"):
        selective_scan(**{**inputs, "u": inputs["u"].long()})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scan_order": "st"}, r"scan_order: expected 's2t' or 't2s', got 'st'"),
        ({"num_frames": 5}, r"num_frames: expected a divisor of the 12 tokens, got 5"),
        ({"num_frames": 0}, r"num_frames: expected a divisor of the 12 tokens, got 0"),
    ],
)
def test_wrong_order(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        selective_scan(**scan_inputs(2, 12, 3, 4), **options)


# Shapes and dtypes


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 7, 2, 5)])
def test_shape_and_dtype(device, backend, dtype, shape):
    inputs = scan_inputs(*shape, dtype=dtype, device=device)
    results = outputs_and_gradients(selective_scan, inputs, backend=backend)
    assert results["output"].shape == shape[:3]
    assert all(tensor.dtype == dtype for tensor in results.values())


# Numbers worked out by hand


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_halving_state(backend):
    # h = 1; 1/2 + 2; 5/4 + 4, and from the end 4; 2 + 2; 2 + 1.
    assert halving([1.0, 2.0, 4.0], backend=backend) == pytest.approx([1, 2.5, 5.25], rel=1e-6)
    assert halving([1.0, 2.0, 4.0], backend=backend, reverse=True) == pytest.approx([3, 4, 4], rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_skip_gate_bias_and_softplus(backend):
    u = torch.tensor([1.0, 2.0, 4.0])[None, :, None]
    ones, zeros = torch.ones_like(u), torch.zeros_like(u)
    y = selective_scan(
        u,
        zeros,
        torch.full((1, 1), -math.log(2)),
        2 * ones,
        3 * ones,
        D=torch.tensor([10.0]),
        z=ones,
        # softplus(log(e - 1)) = 1
        delta_bias=torch.tensor([math.log(math.e - 1)]),
        backend=backend,
    )
    silu = 1 / (1 + math.exp(-1))
    expected = [(6 * 1 + 10) * silu, (6 * 2.5 + 20) * silu, (6 * 5.25 + 40) * silu]
    assert y[0, :, 0].tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_two_states_and_two_channels(backend):
    # Channel 0 keeps its first state and halves its second, channel 1 halves its first and quarters its second.
    A = -math.log(2) * torch.tensor([[0.0, 1.0], [1.0, 2.0]])
    u = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [0.0, 4.0]]])
    B = torch.tensor([[[1.0, 10.0], [1.0, 1.0], [1.0, 0.0]]])
    C = torch.tensor([[[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]])
    y = selective_scan(u, torch.ones_like(u), A, B, C, delta_softplus=False, backend=backend)
    expected = [[1 + 10, 2 + 20], [1, 1], [2.5, 20 / 16]]
    torch.testing.assert_close(y[0], torch.tensor(expected))


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_order_of_the_visits(backend):
    # Two frames of three positions; memory holds frame 0 and then frame 1. The state halves with every visit, so the
    # trace of a single input tells when each token was visited.
    first, last = [1.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1.0]
    run = {"num_frames": 2, "backend": backend}
    assert halving(first, scan_order="s2t", **run) == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32])
    # Position 0 of frames 0 and 1, position 1 of frames 0 and 1, position 2 of frames 0 and 1.
    assert halving(first, scan_order="t2s", **run) == pytest.approx([1, 1 / 4, 1 / 16, 1 / 2, 1 / 8, 1 / 32])
    assert halving(last, scan_order="s2t", reverse=True, **run) == pytest.approx(
        [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    )
    assert halving(last, scan_order="t2s", reverse=True, **run) == pytest.approx(
        [1 / 32, 1 / 8, 1 / 2, 1 / 16, 1 / 4, 1]
    )


# Gradients


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("without", [(), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("softplus", [True, False])
def test_gradcheck(monkeypatch, device, backend, without, softplus):
    monkeypatch.setattr(portable, "_SHORTEST_SEGMENT", 2)
    monkeypatch.setattr(portable, "_LEAST_STATES", 0)
    inputs = scan_inputs(2, 6, 2, 2, device=device, without=without)
    # Negative steps would let the state grow.
    inputs["delta"] = inputs["delta"].abs() + (0 if "delta_bias" in without else inputs["delta_bias"].abs())
    leaves = tuple(None if t is None else t.requires_grad_() for t in inputs.values())
    options = {"scan_order": "t2s", "num_frames": 3, "reverse": True, "delta_softplus": softplus, "backend": backend}
    assert torch.autograd.gradcheck(lambda *tensors: selective_scan(*tensors, **options), leaves)


# Portable against naive


@pytest.mark.parametrize("shape", [(1, 1, 3, 2), (2, 2, 1, 1), (3, 15, 5, 3), (2, 61, 7, 4), (1, 2051, 3, 2)])
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
def test_portable_is_naive(device, poisoned_memory, shape, scan_order, reverse):
    inputs = scan_inputs(*shape, device=device)
    length = shape[1]
    frames = next(n for n in (3, 7, 2, 1, length) if length % n == 0)
    options = {"scan_order": scan_order, "num_frames": frames, "reverse": reverse}
    want = outputs_and_gradients(selective_scan, inputs, backend="naive", **options)
    got = outputs_and_gradients(selective_scan, inputs, backend="portable", **options)
    assert_same(got, want, torch.float64)


@pytest.mark.parametrize("without", [(), ("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("softplus", [True, False])
def test_portable_is_naive_with_and_without(device, poisoned_memory, without, softplus):
    inputs = scan_inputs(2, 37, 3, 2, device=device, without=without)
    options = {"delta_softplus": softplus}
    want = outputs_and_gradients(selective_scan, inputs, backend="naive", **options)
    got = outputs_and_gradients(selective_scan, inputs, backend="portable", **options)
    assert_same(got, want, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_portable_is_naive_in(device, poisoned_memory, dtype):
    inputs = scan_inputs(2, 203, 8, 16, dtype=dtype, device=device)
    want = outputs_and_gradients(selective_scan, inputs, backend="naive")
    got = outputs_and_gradients(selective_scan, inputs, backend="portable")
    assert_same(got, want, dtype)


def test_portable_is_naive_in_mixed_dtypes(device):
    inputs = scan_inputs(2, 40, 8, 4, dtype=torch.bfloat16, device=device)
    for name in ("A", "D", "delta_bias", "delta"):
        inputs[name] = inputs[name].float()
    want = outputs_and_gradients(selective_scan, inputs, backend="naive")
    got = outputs_and_gradients(selective_scan, inputs, backend="portable")
    assert got["output"].dtype == torch.bfloat16
    assert_same(got, want, torch.bfloat16)


def test_portable_takes_slices_of_wider_tensors(device):
    wide = torch.randn(2, 40, 20, device=device, dtype=torch.float64, requires_grad=True)

    def run(backend):
        u, delta, B, C = wide.split((7, 7, 3, 3), dim=-1)
        A = torch.full((7, 3), -0.5, dtype=torch.float64, device=device)
        (gradient,) = torch.autograd.grad(selective_scan(u, delta, A, B, C, backend=backend).square().sum(), wide)
        return gradient

    torch.testing.assert_close(run("portable"), run("naive"))


@pytest.mark.parametrize("scale", [1e4, 1e-8])
def test_extreme_decay_stays_finite(device, scale):
    inputs = scan_inputs(1, 300, 3, 2, dtype=torch.float32, device=device)
    inputs["A"] = inputs["A"] * scale
    want = outputs_and_gradients(selective_scan, inputs, backend="naive")
    got = outputs_and_gradients(selective_scan, inputs, backend="portable")
    assert_same(got, want, torch.float32)


# Properties

tokens = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 12), st.integers(1, 3), st.integers(1, 3))


def drawn(shape, seed):
    batch, frames, size, channels, states = shape
    torch.manual_seed(seed)
    return scan_inputs(batch, frames * size, channels, states)


def moved(inputs, move):
    """The inputs with ``move`` done to the tensors that hold tokens."""
    return {name: move(t) if name in ("u", "delta", "B", "C", "z") else t for name, t in inputs.items()}


@settings(max_examples=25, deadline=None)
@given(shape=tokens, seed=st.integers(0, 99))
def test_reverse_is_the_flip_of_forward(shape, seed):
    inputs = drawn(shape, seed)
    flipped = selective_scan(**moved(inputs, lambda t: t.flip(1)), backend="portable").flip(1)
    torch.testing.assert_close(selective_scan(**inputs, reverse=True, backend="portable"), flipped)


@settings(max_examples=25, deadline=None)
@given(shape=tokens, seed=st.integers(0, 99), reverse=st.booleans())
def test_t2s_is_s2t_of_permuted_tokens(shape, seed, reverse):
    inputs, frames, size = drawn(shape, seed), shape[1], shape[2]
    permuted = moved(inputs, lambda t: t.unflatten(1, (frames, size)).transpose(1, 2).flatten(1, 2))
    want = selective_scan(**permuted, reverse=reverse, backend="portable")
    want = want.unflatten(1, (size, frames)).transpose(1, 2).flatten(1, 2)
    got = selective_scan(**inputs, scan_order="t2s", num_frames=frames, reverse=reverse, backend="portable")
    torch.testing.assert_close(got, want)


@settings(max_examples=25, deadline=None)
@given(shape=tokens, seed=st.integers(0, 99), data=st.data())
def test_what_comes_later_does_not_matter(shape, seed, data):
    inputs = drawn(shape, seed)
    cut = data.draw(st.integers(1, inputs["u"].shape[1]))
    whole = selective_scan(**inputs, backend="portable")
    torch.testing.assert_close(
        selective_scan(**moved(inputs, lambda t: t[:, :cut]), backend="portable"), whole[:, :cut]
    )


@settings(max_examples=25, deadline=None)
@given(shape=tokens, seed=st.integers(0, 99), segment=st.integers(1, 50))
def test_segments_do_not_matter(shape, seed, segment):
    inputs = drawn(shape, seed)
    whole = outputs_and_gradients(selective_scan, inputs, backend="portable")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portable, "_SHORTEST_SEGMENT", segment)
        patch.setattr(portable, "_LEAST_STATES", 0)
        patch.setattr(portable, "_SHARE", 0.0)
        assert_same(outputs_and_gradients(selective_scan, inputs, backend="portable"), whole, torch.float64)


@settings(max_examples=25, deadline=None)
@given(shape=tokens, seed=st.integers(0, 99), factor=st.floats(-3, 3))
def test_linear_in_u(shape, seed, factor):
    inputs, other = drawn(shape, seed), torch.randn(3, 48, 3, dtype=torch.float64)
    other = other[: inputs["u"].shape[0], : inputs["u"].shape[1], : inputs["u"].shape[2]]
    y = selective_scan(**inputs, backend="portable")
    z = selective_scan(**{**inputs, "u": other}, backend="portable")
    both = selective_scan(**{**inputs, "u": inputs["u"] + factor * other}, backend="portable")
    torch.testing.assert_close(both, y + factor * z)


# Memory and speed, issue's bars


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 12288, 64, 16), torch.float32),
        ((1, 12288, 64, 16), torch.bfloat16),
        ((1, 3072, 48, 16), torch.float32),
        ((2, 1001, 8, 16), torch.float32),
        ((1, 2048, 32, 8), torch.bfloat16),
    ],
)
@pytest.mark.parametrize("options", [{}, {"scan_order": "t2s", "num_frames": 1, "reverse": True}])
def test_extra_memory_is_little_or_under_a_quarter_of_the_states(shape, dtype, options):
    inputs = {name: t.requires_grad_() for name, t in scan_inputs(*shape, dtype=dtype).items()}
    if options:
        options = {**options, "num_frames": next(n for n in (3, 7, 4) if shape[1] % n == 0)}
    most = max(math.prod(shape) * 4 / 4, 12 * 2**20)
    forward, y = peak_memory(lambda: selective_scan(**inputs, **options, backend="portable"))
    assert size_in_bytes(y) < forward < most + size_in_bytes(y)
    grad = torch.ones_like(y)
    backward, _ = peak_memory(lambda: y.backward(grad))
    grads = size_in_bytes(*(t.grad for t in inputs.values()))
    assert grads < backward < most + grads


@pytest.mark.slow
def test_portable_is_ten_times_as_fast_as_naive():
    inputs = {name: t.requires_grad_() for name, t in scan_inputs(1, 4096, 64, 16, dtype=torch.float32).items()}

    def seconds(backend):
        # Of the processor, so that other programs do not count, in one thread: several wait for each other busily.
        start = time.process_time()
        selective_scan(**inputs, backend=backend).sum().backward()
        return time.process_time() - start

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds("portable")
        assert 10 * min(seconds("portable") for _ in range(7)) < seconds("naive")
    finally:
        torch.set_num_threads(threads)


# With PyTorch's machinery


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_autocast_leaves_the_recurrence_in_float32(backend):
    inputs = scan_inputs(2, 40, 3, 4, dtype=torch.float32)
    want = outputs_and_gradients(selective_scan, inputs, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        got = outputs_and_gradients(selective_scan, inputs, backend=backend)
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name


def test_under_checkpoint():
    inputs = scan_inputs(2, 40, 3, 4)

    def recomputed(**tensors):
        return checkpoint(selective_scan, **tensors, backend="portable", use_reentrant=False)

    want = outputs_and_gradients(selective_scan, inputs, backend="portable")
    assert_same(outputs_and_gradients(recomputed, inputs), want, torch.float64)


def test_under_compile():
    inputs = scan_inputs(2, 40, 3, 4)

    def scaled(**tensors):
        return 2 * selective_scan(**{**tensors, "u": tensors["u"] + 1}, backend="portable")

    torch.compiler.reset()
    compiled = torch.compile(scaled, backend="aot_eager")
    assert_same(outputs_and_gradients(compiled, inputs), outputs_and_gradients(scaled, inputs), torch.float64)


def test_without_gradients():
    inputs = scan_inputs(2, 40, 3, 4)
    inputs["u"].requires_grad_()
    with torch.no_grad():
        assert not selective_scan(**inputs, backend="portable").requires_grad


def test_only_some_gradients():
    inputs = scan_inputs(2, 40, 3, 4)
    A = inputs["A"].requires_grad_()
    (alone,) = torch.autograd.grad(selective_scan(**inputs, backend="portable").sum(), A)
    inputs = {name: t.detach().requires_grad_() for name, t in inputs.items()}
    selective_scan(**inputs, backend="naive").sum().backward()
    torch.testing.assert_close(alone, inputs["A"].grad)


# GPU


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["mamba_ssm", "portable", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
@pytest.mark.parametrize("shape", [(1, 1, 8, 4), (2, 203 * 3, 24, 16)])
def test_on_a_gpu(backend, dtype, scan_order, reverse, shape):
    obstacle = mamba_ssm.obstacle("cuda")
    if backend == "mamba_ssm" and obstacle:
        pytest.skip(obstacle)
    inputs = scan_inputs(*shape, dtype=dtype, device="cuda")
    frames = 3 if shape[1] % 3 == 0 else 1
    options = {"scan_order": scan_order, "reverse": reverse, "num_frames": frames}
    want = outputs_and_gradients(selective_scan, inputs, backend="naive", **options)
    got = outputs_and_gradients(selective_scan, inputs, backend=backend, **options)
    # Another order of summation, and mamba-ssm rounds its gradients' inputs to the inputs' dtype.
    assert_same(got, want, dtype if dtype == torch.bfloat16 else torch.float16)


def test_backends_are_listed():
    assert BACKENDS.names == ("triton", "mamba_ssm", "portable", "naive")
