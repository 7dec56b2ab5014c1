"""The Triton kernels of all ops, compiled as for a launch on a GPU, which need not be there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "dtype"), [("80", "float32"), ("90", "bfloat16")])
def test_the_kernels_compile(capability, dtype):
    """What the interpreter lets pass, Triton's compiler may refuse."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(Path(__file__).with_name("compile_kernels.py")), capability, dtype]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    # Twice the convolution's two kernels, the scan's two passes, sensitivity and gradients, and two carries; the cross
    # scan's two; the gated convolution's two, and one for each half; the sampling's two; in half types two each of the
    # two products, with and without all options.
    products = 8 if dtype == "bfloat16" else 0
    assert len(result.stdout.splitlines()) == 2 * (2 + 6) + 2 + (2 + 2) + 2 + products
