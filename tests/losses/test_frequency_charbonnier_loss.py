import pytest
import torch
from basicsr.losses import build_loss

from vsrm_arch.losses import FrequencyCharbonnierLoss, frequency_charbonnier_loss


def _formula(pred, target, real_weight, imag_weight, eps, norm):
    difference = torch.fft.fft2(pred, norm=norm) - torch.fft.fft2(target, norm=norm)
    parts = ((real_weight, difference.real), (imag_weight, difference.imag))
    return sum(weight * (part**2 + eps**2).sqrt().mean() for weight, part in parts)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (8, 8), (7, 9)])
@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_equals_the_formula_in_float64(size, norm):
    pred, target = torch.randn(2, 2, 3, *size, dtype=torch.float64)
    ours = frequency_charbonnier_loss(pred, target, 0.3, 0.7, 1e-2, norm)
    torch.testing.assert_close(ours, _formula(pred, target, 0.3, 0.7, 1e-2, norm), rtol=1e-12, atol=0)


def test_a_constant_difference_by_hand():
    # A difference of 1 everywhere has the spectrum HW at zero frequency and 0 elsewhere.
    loss = frequency_charbonnier_loss(torch.ones(1, 4, 4), torch.zeros(1, 4, 4), 1.0, 0.0, eps=0.0)
    assert loss.item() == pytest.approx(16 / 16)


def test_gradcheck():
    pred = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randn(1, 2, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: frequency_charbonnier_loss(x, target), pred)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    pred, target = torch.rand(2, 1, 3, 8, 8).to(dtype)
    loss = frequency_charbonnier_loss(pred, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, frequency_charbonnier_loss(pred.float(), target.float()))


def test_module_equals_function_and_is_registered():
    pred, target = torch.rand(2, 1, 2, 3, 8, 8)
    loss = build_loss({"type": "FrequencyCharbonnierLoss", "real_weight": 0.1, "norm": "ortho"})
    assert isinstance(loss, FrequencyCharbonnierLoss)
    assert torch.equal(loss(pred, target), frequency_charbonnier_loss(pred, target, real_weight=0.1, norm="ortho"))


def test_differing_shapes_are_refused():
    with pytest.raises(ValueError, match=r"pred is \(1, 4, 4\) and target is \(1, 4, 5\)"):
        frequency_charbonnier_loss(torch.zeros(1, 4, 4), torch.zeros(1, 4, 5))
