"""What the tests of all ops share: inputs, outputs with every gradient by name, and their comparison."""

import torch
from torch.profiler import ProfilerActivity, profile

# Largest difference allowed, relative to the largest element compared with.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


def scan_inputs(batch, length, channels, states, *, dtype=torch.float64, device="cpu", without=()):
    """Random arguments of a selective scan; those named in ``without`` are None."""
    inputs = {
        "u": torch.randn(batch, length, channels),
        "delta": torch.randn(batch, length, channels) - 1,
        "A": -torch.exp(torch.randn(channels, states)),
        "B": torch.randn(batch, length, states),
        "C": torch.randn(batch, length, states),
        "D": torch.randn(channels),
        "z": torch.randn(batch, length, channels),
        "delta_bias": torch.randn(channels),
    }
    return {name: None if name in without else t.to(device, dtype) for name, t in inputs.items()}


def cross_inputs(points, tokens, channels, states, *, dtype=torch.float64, device="cpu", without=()):
    """Random arguments of a cross scan; those named in ``without`` are None."""
    inputs = {
        "u": torch.randn(points, tokens, channels),
        "delta": torch.randn(points, tokens, channels) - 1,
        "A": -torch.exp(torch.randn(channels, states)),
        "B": torch.randn(points, tokens, states),
        "C": torch.randn(points, states),
        "D": torch.randn(channels),
        "delta_bias": torch.randn(channels),
    }
    return {name: None if name in without else t.to(device, dtype) for name, t in inputs.items()}


def outputs_and_gradients(op, inputs, **options):
    """The op's output and, by name, the gradient of every input for one fixed gradient of the output."""
    leaves = {name: None if t is None else t.detach().clone().requires_grad_() for name, t in inputs.items()}
    output = op(**leaves, **options)
    pattern = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).mul(7).cos().view(output.shape)
    output.backward(pattern.to(output))
    results = {f"gradient of {name}": t.grad for name, t in leaves.items() if t is not None}
    return {"output": output.detach(), **results}


def assert_same(got, want, dtype):
    """Compares two results of :func:`outputs_and_gradients`, tensor by tensor."""
    assert got.keys() == want.keys()
    for name, expected in want.items():
        actual = got[name]
        assert actual is not None, f"{name} is missing"
        assert actual.dtype == expected.dtype, name
        assert actual.shape == expected.shape, name
        assert torch.isfinite(actual).all(), f"{name} is not finite"
        error = (actual.double() - expected.double()).abs().max()
        # What is exactly zero, such as A's gradient over one step, may be rounded: the inputs are of the order of one.
        scale = expected.double().abs().max() if expected.any() else 1.0
        assert error <= TOLERANCE[dtype] * scale, f"{name}: relative error {error / scale:.1e}"


def peak_memory(run):
    """Most bytes that the CPU allocator held at a time during ``run``, beyond those held before, and its result."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most, result


def size_in_bytes(*tensors):
    """Of all tensors together."""
    return sum(t.numel() * t.element_size() for t in tensors)
