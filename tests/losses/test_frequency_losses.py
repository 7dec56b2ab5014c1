"""The losses that the paper compares with its own, each against its formula written out."""

import cmath
import math

import pytest
import torch
from basicsr.losses import build_loss

from vsrm_arch import losses
from vsrm_arch.losses import focal_frequency_loss, fourier_space_loss, wavelet_high_frequency_loss

FUNCTIONS = (focal_frequency_loss, fourier_space_loss, wavelet_high_frequency_loss)
SIZES = [(1, 1), (2, 3), (5, 4), (8, 8), (7, 9)]


def transform(image):
    """The sum of eq. 13, as a list of rows of complex numbers."""
    H, W = image.shape
    return [
        [
            sum(
                image[y, x].item() * cmath.exp(-2j * math.pi * (u * y / H + v * x / W))
                for y in range(H)
                for x in range(W)
            )
            for v in range(W)
        ]
        for u in range(H)
    ]


def pair(size):
    return torch.randn(2, *size, dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_focal_frequency_loss_equals_the_formula(size, alpha):
    pred, target = pair(size)
    distances = [abs(z) / math.sqrt(pred.numel()) for row in transform(pred - target) for z in row]
    weights = [(d / max(distances)) ** alpha for d in distances]
    expected = sum(w * d**2 for w, d in zip(weights, distances, strict=True)) / pred.numel()
    assert focal_frequency_loss(pred, target, alpha).item() == pytest.approx(expected, rel=1e-10)


def test_focal_frequency_loss_weighs_each_image_by_itself():
    pred, target = torch.randn(2, 2, 3, 6, 6, dtype=torch.float64)
    each = [focal_frequency_loss(p, t) for p, t in zip(pred.flatten(0, 1), target.flatten(0, 1), strict=True)]
    torch.testing.assert_close(focal_frequency_loss(pred, target), torch.stack(each).mean())


def test_the_gradient_of_focal_frequency_loss_takes_the_weights_as_constant():
    pred, target = pair((4, 6))
    spectrum = torch.fft.fft2(pred - target, norm="ortho")
    weight = spectrum.abs() / spectrum.abs().max()
    expected = 2 * torch.fft.ifft2(weight * spectrum, norm="ortho").real / pred.numel()
    (gradient,) = torch.autograd.grad(focal_frequency_loss(pred.requires_grad_(), target), pred)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_fourier_space_loss_equals_the_formula(size, norm):
    def hann(position, side):
        return math.sin(math.pi * position / side) ** 2 if side > 1 else 1.0

    H, W = size
    images = pair(size)
    window = torch.tensor([[hann(y, H) * hann(x, W) for x in range(W)] for y in range(H)], dtype=torch.float64)
    divisor = {"backward": 1, "ortho": math.sqrt(H * W), "forward": H * W}[norm]
    half = slice(0, math.ceil(W / 2))
    pred, target = ([z for row in transform(image * window) for z in row[half]] for image in images)
    amplitude = sum(abs(abs(p) - abs(t)) for p, t in zip(pred, target, strict=True)) / divisor
    turns = (abs(cmath.phase(p) - cmath.phase(t)) for p, t in zip(pred, target, strict=True))
    phase = sum(min(turn, 2 * math.pi - turn) for turn in turns)
    expected = (amplitude + phase) / 2 / len(pred)
    assert fourier_space_loss(*images, norm).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [(4, 4), (8, 16)])
def test_wavelet_loss_by_its_basis(size):
    """The details of a level are products with Haar's functions, placed on a grid."""
    pred, target = pair(size)
    expected = 0.0
    for level in (1, 2):
        side = 2**level
        step = torch.ones(side, dtype=torch.float64)
        step[side // 2 :] = -1
        flat = torch.ones(side, dtype=torch.float64)
        blocks = (pred - target).unfold(0, side, side).unfold(1, side, side)  # [H / side, W / side, side, side]
        for rows, columns in ((flat, step), (step, flat), (step, step)):
            details = torch.einsum("hwyx,y,x->hw", blocks, rows, columns) / side
            expected += details.abs().mean().item() / 3 / 2 ** (level - 1)
    assert wavelet_high_frequency_loss(pred, target, levels=2).item() == pytest.approx(expected, rel=1e-12)


def test_wavelet_loss_continues_odd_sides():
    pred, target = pair((3, 5))
    rows, columns = [0, 1, 2, 2], [0, 1, 2, 3, 4, 4]
    even = wavelet_high_frequency_loss(pred[rows][:, columns], target[rows][:, columns], levels=1)
    torch.testing.assert_close(wavelet_high_frequency_loss(pred, target, levels=1), even)
    with pytest.raises(ValueError, match="levels is 0; it must be at least 1"):
        losses.WaveletHighFrequencyLoss(levels=0)


@pytest.mark.parametrize("function", [fourier_space_loss, wavelet_high_frequency_loss])
def test_gradcheck(function):
    pred = torch.rand(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 2, 5, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: function(x, target), pred)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", [None, 0.0, 0.5, 1e-30])
def test_gradients_are_finite_at_zero_difference(function, value):
    target = torch.rand(1, 3, 8, 9) if value is None else torch.full((1, 3, 8, 9), value)
    pred = target.clone().requires_grad_()
    loss = function(pred, target)
    loss.backward()
    assert loss.item() == 0
    assert pred.grad.isfinite().all()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(function, dtype):
    pred, target = torch.rand(2, 1, 3, 8, 8).to(dtype)
    loss = function(pred, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, function(pred.float(), target.float()))


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("FocalFrequencyLoss", focal_frequency_loss, {"alpha": 0.5}),
        ("FourierSpaceLoss", fourier_space_loss, {"norm": "ortho"}),
        ("WaveletHighFrequencyLoss", wavelet_high_frequency_loss, {"levels": 2}),
    ],
)
def test_module_equals_function_and_is_registered(name, function, options):
    pred, target = torch.rand(2, 1, 2, 3, 8, 8)
    loss = build_loss({"type": name, "loss_weight": 0.02, **options})
    assert isinstance(loss, getattr(losses, name))
    assert torch.equal(loss(pred, target), 0.02 * function(pred, target, **options))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_differing_shapes_are_refused(function):
    with pytest.raises(ValueError, match=r"pred is \(1, 4, 4\) and target is \(1, 4, 5\)"):
        function(torch.zeros(1, 4, 4), torch.zeros(1, 4, 5))
