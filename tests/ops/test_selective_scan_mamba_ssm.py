"""What mamba-ssm's extension is given and gives back, with a stand-in for it where there is no GPU."""

import re
import sys
import types

import pytest
import torch
from ops_testing import assert_same, outputs_and_gradients, scan_inputs

from vsrm_arch.errors import UserError
from vsrm_arch.ops.selective_scan import mamba_ssm, naive, selective_scan

ORDERS = [("s2t", False), ("s2t", True), ("t2s", False), ("t2s", True)]


def fake_extension():
    """A stand-in for selective_scan_cuda that checks what it is given and computes by the definition."""
    module = types.ModuleType("selective_scan_cuda")

    def by_definition(u, delta, A, B, C, D, z, bias, softplus):
        first = (t.transpose(-1, -2) if t is not None else None for t in (u, delta))
        tokens = [t.squeeze(1).transpose(1, 2) for t in (B, C)]
        gate = None if z is None else z.transpose(1, 2)
        y = naive.selective_scan_naive(*first, A, *tokens, D, gate, bias, softplus, False, "s2t", 1)
        return y.transpose(1, 2)

    def fwd(u, delta, A, B, C, D, z, bias, softplus):
        batch, channels, length = u.shape
        assert delta.shape == u.shape
        assert B.shape == C.shape == (batch, 1, A.shape[1], length)
        for tensor in (u, delta, B, C, *(() if z is None else (z,))):
            assert tensor.stride(-1) == 1
            assert tensor.dtype == u.dtype
        for tensor in (A, D, bias):
            assert tensor is None or tensor.dtype == torch.float32
        y = by_definition(u, delta, A, B, C, D, None, bias, softplus)
        checkpoints = u.new_zeros(batch, channels, 1, 2 * A.shape[1])
        return (
            [y, checkpoints] if z is None else [y, checkpoints, by_definition(u, delta, A, B, C, D, z, bias, softplus)]
        )

    def bwd(u, delta, A, B, C, D, z, bias, grad_out, checkpoints, out, dz, softplus, recompute_out_z):
        assert grad_out.stride(-1) == 1
        assert (out is None) == (z is None)
        inputs = [None if t is None else t.detach().requires_grad_() for t in (u, delta, A, B, C, D, z, bias)]
        with torch.enable_grad():
            y = by_definition(*inputs, softplus)
        y.backward(grad_out)
        grads = [torch.empty(0) if t is None else t.grad for t in inputs]
        gate = grads.pop(6)
        return grads if z is None else [*grads, gate]

    module.fwd, module.bwd = fwd, bwd
    return module


@pytest.mark.parametrize("without", [(), ("D", "z", "delta_bias")])
@pytest.mark.parametrize(("scan_order", "reverse"), ORDERS)
def test_mamba_ssm_is_given_what_it_wants(monkeypatch, without, scan_order, reverse):
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", fake_extension())
    monkeypatch.setattr(mamba_ssm, "obstacle", lambda device_type: None)
    inputs = scan_inputs(2, 12, 3, 4, dtype=torch.float32, without=without)
    options = {"scan_order": scan_order, "reverse": reverse, "num_frames": 3}

    def by_extension(**tensors):
        names = ("D", "z", "delta_bias")
        optional = [tensors.pop(name) for name in names]
        return mamba_ssm.selective_scan_mamba_ssm(*tensors.values(), *optional, True, reverse, scan_order, 3)

    want = outputs_and_gradients(selective_scan, inputs, backend="naive", **options)
    assert_same(outputs_and_gradients(by_extension, inputs), want, torch.float32)


@pytest.mark.parametrize(
    ("shape", "dtype", "states", "message"),
    [
        (
            (1, 9, 70_000),
            torch.float32,
            16,
            "it takes at most 65535 channels, not 70000: pixels belong in the batch axis",
        ),
        (
            (2, 2**21, 512),
            torch.bfloat16,
            16,
            r"it takes at most 2147483647 elements \(32-bit offsets\), not 2147483648",
        ),
        ((1, 9, 8), torch.float64, 16, "it knows no float64"),
        ((1, 9, 8), torch.float32, 257, "it takes at most 256 states a channel, not 257"),
    ],
)
def test_limits_of_mamba_ssm(shape, dtype, states, message):
    u, A = torch.empty(shape, dtype=dtype, device="meta"), torch.empty(shape[2], states, device="meta")
    assert re.search(message, str(mamba_ssm.limit(u, A)))
    assert mamba_ssm.limit(u.float()[:, :1, :8], A[:8, :16]) is None


def test_mamba_ssm_is_not_deterministic(deterministic_algorithms):
    u, A = torch.empty(1, 9, 8, device="meta"), torch.empty(8, 16, device="meta")
    assert "order of its sums" in str(mamba_ssm.limit(u, A))


def test_mamba_ssm_on_a_cpu():
    with pytest.raises(UserError, match=r"asks for backend 'mamba_ssm', but it needs a CUDA device, not cpu$"):
        selective_scan(**scan_inputs(1, 2, 2, 2), backend="mamba_ssm")
