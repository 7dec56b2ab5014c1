"""Compiles every kernel of the fused ops for a GPU that need not be there: ``compile_kernels.py CAPABILITY DTYPE``.

The ops run on the CPU, with their launches replaced by a compilation for the arguments of the launch. Prints a line a
kernel: its name, registers and bytes that do not fit into registers.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from ops_testing import cross_inputs, scan_inputs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from vsrm_arch.ops.causal_conv1d.fused import causal_conv1d_fused
from vsrm_arch.ops.cross_scan.fused import cross_scan_fused
from vsrm_arch.ops.encoded_sample.fused import encoded_sample_fused
from vsrm_arch.ops.gated_conv3d.fused import gated_conv3d_fused
from vsrm_arch.ops.gated_linear.fused import gated_linear_fused
from vsrm_arch.ops.norm_linear.fused import norm_linear_fused
from vsrm_arch.ops.selective_scan.fused import selective_scan_fused

KINDS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


def compile_for(capability):
    def run(self, *args, grid, warmup, num_warps=4, num_stages=3, **kwargs):
        given = dict(zip(self.arg_names, args, strict=False)) | kwargs
        signature, constants = {}, {}
        for parameter in self.params:
            value = given[parameter.name]
            if parameter.is_constexpr or value is None:
                signature[parameter.name], constants[parameter.name] = "constexpr", value
            elif isinstance(value, torch.Tensor):
                signature[parameter.name] = KINDS[value.dtype]
            else:
                wide = "i64" if value >= 2**31 else "i32"
                signature[parameter.name] = "fp32" if isinstance(value, float) else wide
        source = ASTSource(self, signature, constexprs=constants)
        options = {"num_warps": num_warps, "num_stages": num_stages}
        binary = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        print(self.__name__, *resources(binary.asm["cubin"]), flush=True)

    JITFunction.run = run


def resources(cubin):
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        return ()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        text = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True).stdout
    return re.findall(r"(?:REG|STACK):\d+", text)


def tokens_in(dtype, inputs, tokens):
    rounded = {name: t.to(dtype if name in tokens else torch.float32) for name, t in inputs.items()}
    return [t.requires_grad_() for t in rounded.values()]


if __name__ == "__main__":
    compile_for(int(sys.argv[1]))
    dtype = getattr(torch, sys.argv[2])
    for order, frames, states in (("s2t", 1, 16), ("t2s", 3, 4)):
        inputs = tokens_in(dtype, scan_inputs(1, 36, 40, states), {"u", "delta", "B", "C", "z"})
        selective_scan_fused(*inputs, True, False, order, frames).sum().backward()
        x, weight, bias = (torch.randn(shape, requires_grad=True) for shape in ((1, 36, 40), (40, 4), (40,)))
        causal_conv1d_fused(x.to(dtype), weight, bias, "silu", True, order, frames).sum().backward()
    inputs = tokens_in(dtype, cross_inputs(5, 9, 40, 16), {"u", "delta", "B", "C"})
    cross_scan_fused(*inputs, True).sum().backward()
    shapes = ((40, 1, 3, 3, 3), (40,)) * 2
    halves = [torch.randn(1, 3, 4, 20, 40).to(dtype).requires_grad_() for _ in range(2)]
    gated_conv3d_fused(*halves, *(torch.randn(shape, requires_grad=True) for shape in shapes)).sum().backward()
    points = [torch.rand(1, 20, 2, requires_grad=True) for _ in range(2)]
    encoded_sample_fused(torch.randn(1, 4, 5, 40).to(dtype).requires_grad_(), *points, 4.0).sum().backward()
    if dtype != torch.float32:
        x, weight = torch.randn(1, 6, 40).to(dtype).requires_grad_(), torch.randn(144, 40)
        norm, parts = torch.randn(40), torch.randn(2, 72)
        norm_linear_fused(x, norm, norm, weight, torch.randn(144), parts, parts, 1e-5).sum().backward()
        norm_linear_fused(x, None, None, weight, None, None, None, 1e-5).sum().backward()
        gated_linear_fused(x, weight, None, torch.randn(1, 6, 144), x, x).sum().backward()
        gated_linear_fused(x, weight, torch.randn(144), None, None, None).sum().backward()
