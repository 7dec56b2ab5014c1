"""The fused products of tokens and matrices, in Triton's interpreter where there is no GPU."""

import pytest
import torch
from ops_testing import assert_same, outputs_and_gradients

from vsrm_arch.ops.gated_linear import gated_linear
from vsrm_arch.ops.gated_linear.fused import gated_linear_fused
from vsrm_arch.ops.gated_linear.portable import gated_linear_portable
from vsrm_arch.ops.norm_linear import norm_linear
from vsrm_arch.ops.norm_linear.fused import norm_linear_fused
from vsrm_arch.ops.norm_linear.portable import norm_linear_portable

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def rounded(inputs, dtype, names):
    """Inputs on the device; those named in a half dtype, as activations are."""
    return {
        name: None if t is None else t.to(dtype if name in names else torch.float32).to(DEVICE)
        for name, t in inputs.items()
    }


def in_double(inputs):
    return {name: None if t is None else t.double() for name, t in inputs.items()}


def same(got, want, dtype):
    assert_same(got, {name: t.to(got[name].dtype) for name, t in want.items()}, dtype)


def drop(inputs, names):
    return {name: None if name.startswith(names) else t for name, t in inputs.items()}


def leaves(shapes, without):
    """Random tensors in float64 that want a gradient; those named in ``without`` are None."""
    return [
        None if name in without else torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for name, shape in shapes.items()
    ]


@pytest.mark.parametrize("without", [(), ("norm_weight", "norm_bias"), ("bias", "part_weight", "part_bias")])
def test_gradcheck_of_norm_linear(without):
    shapes = {"x": (2, 2, 4), "norm_weight": (4,), "norm_bias": (4,), "weight": (6, 4), "bias": (6,)}
    tensors = leaves(shapes | {"part_weight": (2, 3), "part_bias": (2, 3)}, without)
    assert torch.autograd.gradcheck(lambda *t: norm_linear(*t, backend="portable"), tensors)


@pytest.mark.parametrize("without", [(), ("bias", "residual", "other"), ("bias", "gate", "other")])
def test_gradcheck_of_gated_linear(without):
    shapes = {"x": (2, 2, 4), "weight": (5, 4), "bias": (5,)}
    tensors = leaves(shapes | {"residual": (2, 2, 5), "other": (2, 2, 4), "gate": (2, 2, 4)}, without)
    assert torch.autograd.gradcheck(lambda *t: gated_linear(*t, backend="portable"), tensors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("without", [(), ("norm",), ("part",), ("part", "bias"), ("norm", "part", "bias")])
@pytest.mark.parametrize(("tokens", "channels", "columns"), [(1, 6, 8), (70, 40, 144)])
def test_norm_linear(poisoned_memory, monkeypatch, dtype, without, tokens, channels, columns):
    # So few that one of them takes several blocks of tokens.
    monkeypatch.setattr("vsrm_arch.ops.norm_linear.fused._PROGRAMS", 2)
    inputs = {
        "x": torch.randn(1, tokens, channels) * 2 + 1,
        "norm_weight": torch.rand(channels) + 0.5,
        "norm_bias": torch.randn(channels),
        "weight": torch.randn(columns, channels) / channels**0.5,
        "bias": torch.randn(columns),
        "part_weight": torch.rand(2, columns // 2) + 0.5,
        "part_bias": torch.randn(2, columns // 2),
    }
    inputs = rounded(drop(inputs, without), dtype, {"x"})
    got = outputs_and_gradients(lambda **t: norm_linear_fused(*t.values(), 1e-5), inputs)
    want = outputs_and_gradients(lambda **t: norm_linear_portable(*t.values(), 1e-5), in_double(inputs))
    same(got, want, dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("without", [("bias",), ("residual",), ("other",), ("gate",), ("other", "gate")])
@pytest.mark.parametrize("activations", [("x", "other", "gate"), ("gate",)])
@pytest.mark.parametrize(("tokens", "channels", "columns"), [(1, 6, 8), (70, 40, 144), (5, 144, 40)])
def test_gated_linear(poisoned_memory, dtype, without, activations, tokens, channels, columns):
    inputs = {
        "x": torch.randn(1, tokens, channels),
        "weight": torch.randn(columns, channels) / channels**0.5,
        "bias": torch.randn(columns),
        "residual": torch.randn(1, tokens, columns),
        "other": torch.randn(1, tokens, channels),
        "gate": torch.randn(1, tokens, channels),
    }
    inputs = rounded(drop(inputs, without), dtype, activations)

    def fused(**t):
        with torch.autocast(DEVICE, dtype):
            return gated_linear_fused(*t.values())

    got = outputs_and_gradients(fused, inputs)
    assert got["output"].dtype == (dtype if "residual" in without else torch.float32)
    same(got, outputs_and_gradients(lambda **t: gated_linear_portable(*t.values()), in_double(inputs)), dtype)


def test_rows_that_lie_apart():
    both = torch.randn(1, 20, 32, device=DEVICE, dtype=torch.bfloat16)
    weight, residual = torch.randn(8, 16, device=DEVICE), torch.randn(1, 20, 8, device=DEVICE)

    def run(x, gate):
        leaves = [t.detach().requires_grad_() for t in (x, weight, gate)]
        out = gated_linear_fused(*leaves[:2], None, residual, None, leaves[2])
        return out, *torch.autograd.grad(out.square().sum(), leaves)

    halves = both.chunk(2, dim=-1)
    for apart, together in zip(run(*halves), run(*(half.contiguous() for half in halves)), strict=True):
        assert torch.equal(apart, together)


@pytest.mark.parametrize("full", [False, True])
def test_as_ops_of_pytorch(full):
    dtype = torch.bfloat16
    x, grad = (torch.randn(5, size, device=DEVICE, dtype=dtype) for size in (8, 12))
    weight, bias, norm, part = (torch.randn(size, device=DEVICE) for size in ((12, 8), (12,), (8,), (2, 6)))
    norms = (x, norm, norm.clone(), weight, bias, part, part.clone()) if full else (x, None, None, weight, *[None] * 3)
    gates = (x, weight, bias, x.clone(), x.clone()) if full else (x, weight, None, None, None)
    residual = grad.float() if full else None
    calls = {
        torch.ops.vsrm.norm_linear: (*norms, 1e-5, dtype),
        torch.ops.vsrm.norm_linear_backward: (grad, *norms, 1e-5),
        torch.ops.vsrm.gated_linear: (*gates[:3], residual, *gates[3:], dtype),
        torch.ops.vsrm.gated_linear_backward: (grad if residual is None else residual, *gates, dtype),
    }
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    for op, arguments in calls.items():
        torch.library.opcheck(op, arguments, test_utils=tests)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: norm_linear(x, x[0, 0], x[0, 0], torch.ones(3, 7)), r"weight: expected shape \(N, K\) = \(3, 8\)"),
        (lambda x: norm_linear(x, x[0, 0], x[0, 0], torch.ones(4, 8), None, torch.ones(2, 2)), "expected both or none"),
        (
            lambda x: norm_linear(x, x[0, 0], x[0, 0], torch.ones(5, 8), None, torch.ones(2, 2), torch.ones(2, 2)),
            "part_weight: 5 columns do not divide into 2 parts",
        ),
        (lambda x: gated_linear(x, torch.ones(3, 8), None, x), r"residual: expected shape \(..., N\)"),
    ],
)
def test_bad_inputs(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(2, 5, 8))
