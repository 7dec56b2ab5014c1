"""The ops as single operations of exported programs."""

import pytest
import torch
from torch import nn

from vsrm_arch.ops.backends import Backend, Backends
from vsrm_arch.ops.causal_conv1d import causal_conv1d
from vsrm_arch.ops.cross_scan import cross_scan
from vsrm_arch.ops.exporting import is_exporting, without_autocast
from vsrm_arch.ops.selective_scan import selective_scan


class Call(nn.Module):
    def __init__(self, op, **options):
        super().__init__()
        self.op, self.options = op, options

    def forward(self, *tensors):
        return self.op(*tensors, **self.options)


def scan_inputs(*both):
    B, L, E, N = 2, 12, 4, 3
    tokens = (torch.randn(*both, B, L, E), torch.rand(*both, B, L, E))
    return (*tokens, -torch.rand(*both, E, N), torch.randn(*both, B, L, N), torch.randn(*both, B, L, N))


CASES = {
    "scan": (Call(selective_scan), scan_inputs),
    "scan in reverse": (Call(selective_scan, reverse=True, scan_order="t2s", num_frames=3), scan_inputs),
    "scan both ways": (Call(selective_scan, reverse="both"), lambda: scan_inputs(2)),
    "scan with all": (
        Call(selective_scan),
        lambda: (*scan_inputs(), torch.randn(4), torch.randn(2, 12, 4), torch.randn(4)),
    ),
    "convolution": (Call(causal_conv1d, activation=None), lambda: (torch.randn(2, 5, 4), torch.randn(4, 3))),
    "convolution both ways": (
        Call(causal_conv1d, reverse="both"),
        lambda: (torch.randn(2, 5, 4), torch.randn(2, 4, 3), torch.randn(2, 4)),
    ),
    "cross scan": (
        Call(cross_scan),
        lambda: (torch.randn(5, 9, 4), torch.rand(5, 9, 4), -torch.rand(4, 3), torch.randn(5, 9, 3), torch.randn(5, 3)),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strict", [False, True])
def test_one_operation_gives_the_same(case, strict):
    call, make = CASES[case]
    inputs = make()
    program = torch.export.export(call, inputs, strict=strict)
    operations = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert operations == [f"vsrm_arch.{call.op.__name__}.default"]
    output = program.module()(*inputs)
    assert torch.equal(output, call(*inputs))
    (node,) = (node for node in program.graph.nodes if node.op == "call_function")
    assert node.meta["val"].stride() == output.stride()


@pytest.mark.parametrize("case", ["scan", "convolution", "cross scan"])
def test_the_operation_as_pytorch_wants_it(case):
    call, make = CASES[case]
    operation = getattr(torch.ops.vsrm_arch, call.op.__name__).default
    program = torch.export.export(call, make(), strict=False)
    (node,) = (node for node in program.graph.nodes if node.op == "call_function")
    inputs = iter(make())
    arguments = [next(inputs) if isinstance(a, torch.fx.Node) else a for a in node.args]
    torch.library.opcheck(operation, arguments, test_utils=("test_schema", "test_faketensor"))


def test_a_backend_that_is_asked_for_is_taken_apart():
    inputs = scan_inputs()
    program = torch.export.export(Call(selective_scan, backend="naive"), inputs, strict=False)
    assert not any("vsrm_arch" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(*inputs), selective_scan(*inputs))


def test_other_ops_take_pytorchs_own_operations():
    backends = Backends("double", [Backend("triton", lambda x: x * 2), Backend("portable", lambda x: x + x)])

    class Double(nn.Module):
        def forward(self, x):
            return backends.choose(None, x.device.type)(x)

    program = torch.export.export(Double(), (torch.ones(1),), strict=False)
    assert [str(node.target) for node in program.graph.nodes if node.op == "call_function"] == ["aten.add.Tensor"]
    assert not is_exporting()
    assert backends.choose(None, "cpu")(torch.ones(1)) == 2


def test_without_autocast():
    a = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with without_autocast("cpu"):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16
    with without_autocast("cpu"):
        assert (a @ a).dtype == torch.float32
