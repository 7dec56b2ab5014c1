import math

import pytest
import torch
from torch import nn

from vsrm_arch.layers import Upsampler, checkpoint
from vsrm_arch.ops.positional_encoding import sinusoidal_encoding


def test_encoding_of_hand_picked_positions():
    # dim 8: four channels a coordinate; frequencies 1, 1, 10, 10.
    code = sinusoidal_encoding(torch.tensor([0.25, 0.5]), dim=8, extent=1 - 1e-6)
    y, x = 2 * math.pi * 0.25, 2 * math.pi * 0.5
    expected = [f(a * k) for a in (y, x) for k in (1, 10) for f in (math.sin, math.cos)]
    torch.testing.assert_close(code, torch.tensor(expected), atol=1e-5, rtol=0)


def test_encoding_refuses_an_odd_number_of_channels():
    with pytest.raises(ValueError, match="even number of channels, not 3"):
        sinusoidal_encoding(torch.zeros(1, 2), dim=3, extent=1.0)


@pytest.mark.parametrize("scale", [2, 4])
def test_upsampler_starts_from_the_bilinear_frame(scale):
    upsampler = Upsampler(8, mid_dim=4, scale=scale)
    nn.init.zeros_(upsampler.conv_last.weight)
    nn.init.zeros_(upsampler.conv_last.bias)
    frame = torch.rand(1, 3, 5, 6)
    expected = nn.functional.interpolate(frame, scale_factor=scale, mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsampler(torch.randn(1, 8, 5, 6), frame), expected)


def test_upsampler_parameters_and_refusal():
    assert sum(p.numel() for p in Upsampler(112).parameters()) == 398_659
    with pytest.raises(ValueError, match="scale must be 2 or 4, not 3"):
        Upsampler(8, scale=3)


def test_checkpoint_recomputes_and_changes_nothing():
    calls = []
    linear = nn.Linear(3, 3)

    def function(x, unused):
        calls.append(1)
        return linear(x).tanh()

    x = torch.randn(2, 3)
    plain = torch.autograd.grad(function(x, None).sum(), linear.weight)[0]
    again = torch.autograd.grad(checkpoint(function, x, None).sum(), linear.weight)[0]
    torch.testing.assert_close(plain, again, rtol=0, atol=0)
    assert len(calls) == 3
