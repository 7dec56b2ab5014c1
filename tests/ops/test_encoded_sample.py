import pytest
import torch
from ops_testing import assert_same, outputs_and_gradients

from vsrm_arch.ops.encoded_sample import BACKENDS, encoded_sample, fused, portable
from vsrm_arch.ops.encoded_sample.portable import encoded_sample_portable
from vsrm_arch.ops.positional_encoding import sinusoidal_encoding

BACKENDS_HERE = ["portable", "naive"]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def sample_inputs(batch, height, width, points, channels, *, device="cpu"):
    """Points within the feature and up to two pixels outside of it."""
    side = torch.tensor([height, width]) + 3.0
    inputs = {
        "feature": torch.randn(batch, height, width, channels),
        "position": torch.rand(batch, points, 2) * side - 2,
        "local": torch.rand(batch, points, 2) * 4,
    }
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def test_numbers_worked_out_by_hand():
    feature = torch.arange(12.0).view(1, 3, 2, 2)  # rows, columns, channels
    position = torch.tensor([[[0.5, 0.25], [-3.0, 0.5], [9.0, 9.0]]])
    got = encoded_sample(feature, position, torch.zeros(1, 3, 2), extent=4.0)
    # The encoding of 0 has one sine for y and one for x: both are 0.
    torch.testing.assert_close(got, torch.tensor([[[2.5, 3.5], [1.0, 2.0], [10.0, 11.0]]]))


def test_adds_the_encoding():
    inputs = sample_inputs(2, 3, 4, 5, 8)
    without = encoded_sample(**{**inputs, "local": torch.zeros(2, 5, 2)}, extent=4.0)
    encoding = sinusoidal_encoding(inputs["local"], 8, 4.0) - sinusoidal_encoding(torch.zeros(2, 5, 2), 8, 4.0)
    torch.testing.assert_close(encoded_sample(**inputs, extent=4.0), without + encoding)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("feature", (2, 3, 8), r"feature: expected a tensor \(B, H, W, C\) that is not empty, got shape \(2, 3, 8\)"),
        ("position", (2, 5, 3), r"position: expected shape \(B, P, 2\) = \(2, 5, 2\), got \(2, 5, 3\)"),
        ("local", (2, 4, 2), r"local: expected shape \(B, P, 2\) = \(2, 5, 2\), got \(2, 4, 2\)"),
    ],
)
def test_wrong_shape(name, shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        encoded_sample(**{**sample_inputs(2, 3, 4, 5, 8), name: torch.zeros(shape)}, extent=4.0)


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_gradcheck(backend):
    feature, position, local = (tensor.double().requires_grad_() for tensor in sample_inputs(1, 3, 4, 5, 4).values())

    def sample(feature, position, local):
        return encoded_sample(feature, position, local, extent=4.0, backend=backend)

    assert torch.autograd.gradcheck(sample, [feature, position, local.detach()])
    # The encoding is computed in float32, which is too coarse for small differences.
    assert torch.autograd.gradcheck(sample, [feature.detach(), position.detach(), local], eps=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3, 2), (2, 3, 4, 37, 10), (1, 1, 7, 20, 4)])
def test_portable_is_naive(shape):
    inputs = {name: tensor.double() for name, tensor in sample_inputs(*shape).items()}
    got, want = (outputs_and_gradients(encoded_sample, inputs, extent=4.0, backend=b) for b in BACKENDS_HERE)
    assert_same(got, want, torch.float64)


def test_a_position_that_is_not_a_number_reads_no_memory_of_others():
    inputs = sample_inputs(1, 3, 4, 5, 4)
    inputs["position"][0, 2] = float("nan")
    got = encoded_sample(**inputs, extent=4.0, backend="naive")
    assert got.isnan().all(dim=-1).tolist() == [[False, False, True, False, False]]


def check(shape, dtype):
    """Fused in ``dtype`` against portable in float32 on the same, rounded feature."""
    pytest.importorskip("triton")
    inputs = sample_inputs(*shape, device=DEVICE)
    inputs["feature"] = inputs["feature"].to(dtype)
    got = outputs_and_gradients(lambda **t: fused.encoded_sample_fused(**t, extent=4.0), inputs)
    wide = {**inputs, "feature": inputs["feature"].float()}
    want = outputs_and_gradients(lambda **t: encoded_sample_portable(**t, extent=4.0), wide)
    assert_same(got, {name: tensor.to(got[name].dtype) for name, tensor in want.items()}, dtype)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 2), (2, 3, 4, 37, 10), (1, 5, 7, 20, 112)])
def test_fused_against_portable(poisoned_memory, shape):
    check(shape, torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_in_half_precision(poisoned_memory, dtype):
    check((1, 4, 6, 20, 16), dtype)


def test_as_an_op_of_pytorch():
    pytest.importorskip("triton")
    tensors = [tensor.requires_grad_() for tensor in sample_inputs(1, 3, 4, 5, 8, device=DEVICE).values()]
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    frequency = torch.ones(4, device=DEVICE)
    torch.library.opcheck(torch.ops.vsrm.encoded_sample, (*tensors, frequency), test_utils=tests)


def test_limits():
    feature = torch.zeros(1, 2, 2, 6)
    assert fused.limit(feature) is None
    assert fused.limit(feature.double()) == "it knows no float64"
    assert fused.limit(feature[..., :5]) == "it takes an even number of channels up to 512, not 5"


def test_what_runs_deterministically(deterministic_algorithms):
    refusal = "the order of its sums changes from run to run: unset the backend, or deterministic algorithms"
    feature = torch.zeros(1, 2, 2, 6)
    assert fused.limit(feature) == refusal
    assert portable.limit(feature.to("meta")) == refusal  # on a GPU
    assert portable.limit(feature) is None


def test_backends_are_listed():
    assert BACKENDS.names == ("triton", "portable", "naive")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_full_size_on_a_gpu(dtype):
    check((2, 64, 67, 9 * 64 * 67, 112), dtype)
