import pytest
import torch
from torch import nn

from vsrm_arch.figures import area_share, effective_receptive_field


def blur(lq):
    """Twice enlarged: each frame's 3x3 box, and half of the frame before."""
    B, T = lq.shape[:2]
    box = nn.functional.avg_pool2d(lq.flatten(0, 1), 3, 1, 1).unflatten(0, (B, T)) * 9
    box = box + 0.5 * torch.cat([lq[:, :1] * 0, lq[:, :-1]], dim=1)
    return box.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_of_a_known_network():
    field = effective_receptive_field(blur, [torch.rand(1, 3, 3, 9, 7) for _ in range(2)])
    # Three colours of four enlarged pixels.
    want = torch.zeros(3, 9, 7)
    want[1, 3:6, 2:5] = 12
    want[0, 4, 3] = 6
    torch.testing.assert_close(field, want)


def test_no_clip():
    with pytest.raises(ValueError, match="no clip to look at"):
        effective_receptive_field(blur, [])


def test_shares_of_the_area():
    field = effective_receptive_field(blur, [torch.rand(1, 3, 3, 9, 7)])
    assert area_share(field, 1 / 9) == pytest.approx(1 / 63)
    assert area_share(field, 0.5) == area_share(field, 1.0) == pytest.approx(9 / 63)
    assert area_share(torch.ones(1, 4, 4), 1.0) == 1
