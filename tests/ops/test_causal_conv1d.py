import re
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_testing import assert_same, outputs_and_gradients
from torch.utils.checkpoint import checkpoint

from vsrm_arch.errors import UserError
from vsrm_arch.ops.causal_conv1d import BACKENDS, causal_conv1d, cuda, portable

BACKENDS_HERE = ["naive", "portable"]
ORDERS = [("s2t", False), ("s2t", True), ("t2s", False), ("t2s", True)]


def conv_inputs(batch, length, channels, taps, *, dtype=torch.float64, device="cpu", without=()):
    inputs = {
        "x": torch.randn(batch, length, channels),
        "weight": torch.randn(channels, taps),
        "bias": torch.randn(channels),
    }
    return {name: None if name in without else t.to(device, dtype) for name, t in inputs.items()}


def one_channel(x, weight, **options):
    x, weight = torch.tensor(x)[None, :, None], torch.tensor(weight)[None]
    return causal_conv1d(x, weight, **options)[0, :, 0].tolist()


# Smoke


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
@pytest.mark.parametrize("activation", ["silu", None])
def test_smoke(device, backend, scan_order, reverse, activation):
    inputs = conv_inputs(2, 12, 3, 4, dtype=torch.float32, device=device)
    options = {"activation": activation, "reverse": reverse, "scan_order": scan_order, "num_frames": 3}
    for name, tensor in outputs_and_gradients(causal_conv1d, inputs, backend=backend, **options).items():
        assert torch.isfinite(tensor).all(), name


# Exceptions


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x", (12, 3), r"x: expected a tensor \(B, L, E\) that is not empty, got shape \(12, 3\)"),
        ("weight", (3, 1, 4), r"weight: expected a tensor \(E, K\) that is not empty, got shape \(3, 1, 4\)"),
        ("weight", (4, 4), r"weight: expected shape \(E, K\) = \(3, 4\), got \(4, 4\)"),
        ("bias", (4,), r"bias: expected shape \(E\) = \(3,\), got \(4,\)"),
    ],
)
def test_wrong_shape(name, shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        causal_conv1d(**{**conv_inputs(2, 12, 3, 4), name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "activation: expected 'silu' or None, got 'relu'"),
        ({"scan_order": "t"}, "scan_order: expected 's2t' or 't2s', got 't'"),
        ({"num_frames": 5}, "num_frames: expected a divisor of the 12 tokens, got 5"),
    ],
)
def test_wrong_option(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        causal_conv1d(**conv_inputs(2, 12, 3, 4), **options)


def test_wrong_device():
    inputs = conv_inputs(2, 12, 3, 4)
    with pytest.raises(ValueError, match=r"^weight: expected a tensor on cpu, got one on meta$"):
        causal_conv1d(inputs["x"], inputs["weight"].to("meta"))


# Shapes and dtypes


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 5, 4)])
def test_shape_and_dtype(device, backend, dtype, shape):
    inputs = conv_inputs(*shape, dtype=dtype, device=device)
    results = outputs_and_gradients(causal_conv1d, inputs, backend=backend)
    assert results["output"].shape == shape[:3]
    assert all(tensor.dtype == dtype for tensor in results.values())


# Numbers worked out by hand


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_numbers(backend):
    run = {"activation": None, "backend": backend}
    assert one_channel([1.0, 2.0, 4.0], [10.0, 1.0], **run) == [1, 12, 24]
    assert one_channel([1.0, 2.0, 4.0], [10.0, 1.0], reverse=True, **run) == [21, 42, 4]
    bias = torch.tensor([0.5])
    assert one_channel([1.0, 2.0, 4.0], [10.0, 1.0], bias=bias, **run) == [1.5, 12.5, 24.5]
    silu = F.silu(torch.tensor([1.0, 12.0, 24.0])).tolist()
    assert one_channel([1.0, 2.0, 4.0], [10.0, 1.0], backend=backend) == pytest.approx(silu)


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_order_of_the_visits(backend):
    # Two frames of three positions. The taps tell how many visits ago the only token that is not zero was seen.
    first, last = [1.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1.0]
    taps = [3.0, 2.0, 1.0]
    run = {"activation": None, "num_frames": 2, "backend": backend}
    assert one_channel(first, taps, scan_order="s2t", **run) == [1, 2, 3, 0, 0, 0]
    # Position 0 of frames 0 and 1, position 1 of frames 0 and 1, position 2 of frames 0 and 1.
    assert one_channel(first, taps, scan_order="t2s", **run) == [1, 3, 0, 2, 0, 0]
    assert one_channel(last, taps, scan_order="s2t", reverse=True, **run) == [0, 0, 0, 3, 2, 1]
    assert one_channel(last, taps, scan_order="t2s", reverse=True, **run) == [0, 0, 2, 0, 3, 1]


def test_is_a_grouped_convolution():
    inputs = conv_inputs(2, 19, 3, 4)
    x = F.pad(inputs["x"].transpose(1, 2), (3, 0))
    want = F.silu(F.conv1d(x, inputs["weight"][:, None], inputs["bias"], groups=3)).transpose(1, 2)
    torch.testing.assert_close(causal_conv1d(**inputs), want)


# Gradients


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("without", [(), ("bias",)])
@pytest.mark.parametrize("activation", ["silu", None])
def test_gradcheck(monkeypatch, device, backend, without, activation):
    monkeypatch.setattr(portable, "_BLOCK", {"cpu": 8, "other": 8})
    inputs = conv_inputs(2, 6, 2, 3, device=device, without=without)
    leaves = tuple(None if t is None else t.requires_grad_() for t in inputs.values())
    options = {"scan_order": "t2s", "num_frames": 3, "reverse": True, "activation": activation, "backend": backend}
    assert torch.autograd.gradcheck(lambda *tensors: causal_conv1d(*tensors, **options), leaves)


# Portable against naive


@pytest.mark.parametrize(
    "shape", [(1, 1, 3, 4), (2, 2, 1, 4), (3, 15, 5, 1), (2, 61, 7, 4), (1, 501, 3, 5), (40, 9, 3, 4)]
)
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
@pytest.mark.parametrize("block", [8, 100, 1 << 16])
def test_portable_is_naive(monkeypatch, device, poisoned_memory, shape, scan_order, reverse, block):
    monkeypatch.setattr(portable, "_BLOCK", {"cpu": block, "other": block})
    inputs = conv_inputs(*shape, device=device)
    frames = next(n for n in (3, 7, 2, 1) if shape[1] % n == 0)
    options = {"scan_order": scan_order, "num_frames": frames, "reverse": reverse}
    want = outputs_and_gradients(causal_conv1d, inputs, backend="naive", **options)
    got = outputs_and_gradients(causal_conv1d, inputs, backend="portable", **options)
    assert_same(got, want, torch.float64)


@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("without", [(), ("bias",)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_portable_is_naive_in(device, poisoned_memory, dtype, without, activation):
    inputs = conv_inputs(2, 203, 8, 4, dtype=dtype, device=device, without=without)
    want = outputs_and_gradients(causal_conv1d, inputs, activation=activation, backend="naive")
    got = outputs_and_gradients(causal_conv1d, inputs, activation=activation, backend="portable")
    assert_same(got, want, dtype)


def test_portable_takes_a_slice_of_a_wider_tensor(device):
    wide = torch.randn(2, 40, 14, device=device, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 4, device=device, dtype=torch.float64)

    def run(backend):
        x, _ = wide.chunk(2, dim=-1)
        (gradient,) = torch.autograd.grad(causal_conv1d(x, weight, backend=backend).square().sum(), wide)
        return gradient

    torch.testing.assert_close(run("portable"), run("naive"))


# Properties

tokens = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 12), st.integers(1, 3), st.integers(1, 5))


def drawn(shape, seed):
    batch, frames, size, channels, taps = shape
    torch.manual_seed(seed)
    return conv_inputs(batch, frames * size, channels, taps)


@settings(max_examples=25, deadline=None)
@given(shape=tokens, seed=st.integers(0, 99))
def test_reverse_is_the_flip_of_forward(shape, seed):
    inputs = drawn(shape, seed)
    flipped = causal_conv1d(**{**inputs, "x": inputs["x"].flip(1)}, backend="portable").flip(1)
    torch.testing.assert_close(causal_conv1d(**inputs, reverse=True, backend="portable"), flipped)


@settings(max_examples=25, deadline=None)
@given(shape=tokens, seed=st.integers(0, 99), reverse=st.booleans())
def test_t2s_is_s2t_of_permuted_tokens(shape, seed, reverse):
    inputs, frames, size = drawn(shape, seed), shape[1], shape[2]
    x = inputs["x"].unflatten(1, (frames, size)).transpose(1, 2).flatten(1, 2)
    want = causal_conv1d(**{**inputs, "x": x}, reverse=reverse, backend="portable")
    want = want.unflatten(1, (size, frames)).transpose(1, 2).flatten(1, 2)
    got = causal_conv1d(**inputs, scan_order="t2s", num_frames=frames, reverse=reverse, backend="portable")
    torch.testing.assert_close(got, want)


@settings(max_examples=25, deadline=None)
@given(shape=tokens, seed=st.integers(0, 99), data=st.data())
def test_what_comes_later_does_not_matter(shape, seed, data):
    inputs = drawn(shape, seed)
    cut = data.draw(st.integers(1, inputs["x"].shape[1]))
    whole = causal_conv1d(**inputs, backend="portable")
    part = causal_conv1d(**{**inputs, "x": inputs["x"][:, :cut]}, backend="portable")
    torch.testing.assert_close(part, whole[:, :cut])


# With PyTorch's machinery


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_autocast_changes_nothing(backend):
    inputs = conv_inputs(2, 40, 3, 4, dtype=torch.float32)
    want = outputs_and_gradients(causal_conv1d, inputs, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        got = outputs_and_gradients(causal_conv1d, inputs, backend=backend)
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name


def test_under_checkpoint_and_compile():
    inputs = conv_inputs(2, 40, 3, 4)

    def recomputed(**tensors):
        return checkpoint(causal_conv1d, **tensors, backend="portable", use_reentrant=False)

    want = outputs_and_gradients(causal_conv1d, inputs, backend="portable")
    assert_same(outputs_and_gradients(recomputed, inputs), want, torch.float64)
    torch.compiler.reset()
    compiled = torch.compile(causal_conv1d, backend="eager")
    assert_same(outputs_and_gradients(compiled, inputs, backend="portable"), want, torch.float64)


# causal-conv1d


@pytest.mark.parametrize("without", [(), ("bias",)])
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
def test_the_package_is_given_what_it_wants(monkeypatch, without, scan_order, reverse):
    def causal_conv1d_fn(x, weight, bias=None, activation=None):
        # Channel-last memory seen as (B, E, L).
        assert x.stride(1) == 1
        assert weight.is_contiguous()
        y = F.conv1d(F.pad(x, (weight.shape[1] - 1, 0)), weight[:, None], bias, groups=x.shape[1])
        return F.silu(y) if activation == "silu" else y

    package = types.ModuleType("causal_conv1d")
    package.causal_conv1d_fn = causal_conv1d_fn
    monkeypatch.setitem(sys.modules, "causal_conv1d", package)
    inputs = conv_inputs(2, 12, 8, 4, dtype=torch.float32, without=without)
    options = {"scan_order": scan_order, "reverse": reverse, "num_frames": 3}

    def by_package(x, weight, bias):
        return cuda.causal_conv1d_cuda(x, weight, bias, "silu", reverse, scan_order, 3)

    want = outputs_and_gradients(causal_conv1d, inputs, backend="naive", **options)
    assert_same(outputs_and_gradients(by_package, inputs), want, torch.float32)


@pytest.mark.parametrize(
    ("shape", "dtype", "taps", "message"),
    [
        ((1, 9, 8), torch.float64, 4, "it knows no float64"),
        ((1, 9, 8), torch.float32, 5, "it takes 2 to 4 taps, not 5"),
        ((1, 9, 12), torch.float32, 4, "it takes channel-last tokens with a multiple of 8 channels, not 12"),
        (
            (2, 2**21, 512),
            torch.bfloat16,
            4,
            r"it takes at most 2147483647 elements \(32-bit offsets\), not 2147483648",
        ),
    ],
)
def test_limits_of_the_package(shape, dtype, taps, message):
    x, weight = torch.empty(shape, dtype=dtype, device="meta"), torch.empty(shape[2], taps, device="meta")
    assert re.search(message, str(cuda.limit(x, weight)))
    assert cuda.limit(x.float()[:, :1, :8], weight[:8, :2]) is None


def test_the_package_is_not_deterministic(deterministic_algorithms):
    x, weight = torch.empty(1, 9, 8, device="meta"), torch.empty(8, 4, device="meta")
    assert "order of its sums" in str(cuda.limit(x, weight))


def test_the_package_on_a_cpu():
    with pytest.raises(UserError, match=r"asks for backend 'causal_conv1d', but it needs a CUDA device, not cpu$"):
        causal_conv1d(**conv_inputs(1, 2, 8, 4), backend="causal_conv1d")


# GPU


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["causal_conv1d", "portable"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
@pytest.mark.parametrize("shape", [(1, 1, 8, 4), (2, 203 * 3, 24, 4)])
def test_on_a_gpu(backend, dtype, scan_order, reverse, shape):
    obstacle = cuda.obstacle("cuda")
    if backend == "causal_conv1d" and obstacle:
        pytest.skip(obstacle)
    inputs = conv_inputs(*shape, dtype=dtype, device="cuda")
    options = {"scan_order": scan_order, "reverse": reverse, "num_frames": 3 if shape[1] % 3 == 0 else 1}
    want = outputs_and_gradients(causal_conv1d, inputs, backend="naive", **options)
    got = outputs_and_gradients(causal_conv1d, inputs, backend=backend, **options)
    assert_same(got, want, dtype)


def test_backends_are_listed():
    assert BACKENDS.names == ("triton", "causal_conv1d", "portable", "naive")
