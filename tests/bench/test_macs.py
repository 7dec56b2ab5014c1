"""Multiply-adds counted by hand, and those of the full network against the specification."""

import pytest
import torch
from basicsr.archs import build_network
from torch import nn
from torchvision.ops import DeformConv2d

from vsrm_arch.alignments import DCA
from vsrm_arch.archs import IART, VSRM
from vsrm_arch.bench.macs import Macs, count_macs, macs_of_clip
from vsrm_arch.layers import TGFN, S2TMamba, T2SMamba
from vsrm_arch.ops.selective_scan import BACKENDS

H, W, T = 6, 5, 3


class OfFrames(nn.Module):
    """Hands every frame, ``(T, 3, H, W)``, to a module."""

    def __init__(self, *modules):
        super().__init__()
        self.inner = nn.Sequential(*modules)

    def forward(self, clip):
        return self.inner(clip.flatten(0, 1))


class OfTokens(nn.Module):
    """Hands the clip as a token grid ``(1, T, H, W, 3)`` to a module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, clip):
        return self.inner(clip.movedim(2, -1))


def counted(network):
    macs = macs_of_clip(network, H, W, T)
    assert macs.protocol == macs.needed
    return macs


class TestByHand:
    @pytest.mark.parametrize(
        ("network", "expected"),
        [
            (OfFrames(nn.Conv2d(3, 8, 3, padding=1)), T * H * W * 8 * 3 * 9),
            (OfFrames(nn.Conv2d(3, 6, 3, padding=1, groups=3)), T * H * W * 6 * 9),
            (OfTokens(nn.Linear(3, 7)), T * H * W * 3 * 7),
            (OfTokens(nn.LayerNorm(3)), T * H * W * 3 * 5),
            (OfTokens(nn.GELU()), 0),
            (OfTokens(TGFN(3)), T * H * W * (3 * 6 + 2 * 27 * 3 + 3 * 3 + 2 * 5 * 3)),
        ],
    )
    def test_layers(self, network, expected):
        assert counted(network).needed == expected

    def test_deformable_convolution(self):
        class Deformed(OfFrames):
            def forward(self, clip):
                return self.inner[0](clip.flatten(0, 1), clip.new_zeros(T, 18, H, W))

        assert counted(Deformed(DeformConv2d(3, 4, 3, padding=1))).needed == T * H * W * 4 * 3 * 9

    @pytest.mark.parametrize(("mixer", "paths"), [(S2TMamba, 2), (T2SMamba, 1)])
    def test_mixers(self, mixer, paths):
        dim, inner, rank, states, taps = 3, 6, 1, 4, 4
        macs = counted(OfTokens(mixer(dim, expand=2, d_state=states, d_conv=taps)))
        path = inner * taps + inner * (rank + 2 * states) + rank * inner
        assert macs.needed == T * H * W * (dim * 2 * inner + paths * path + inner * dim)
        assert macs.scan == 9 * T * H * W * inner * states * paths

    def test_alignment(self):
        class Aligned(nn.Module):
            def __init__(self):
                super().__init__()
                self.align = DCA(dim, expand=2, d_state=states, d_conv=4)

            def forward(self, clip):
                feature = clip[:, 0].repeat(1, 2, 1, 1)[:, :dim]
                return self.align(feature, feature, feature[:, :2])

        dim, inner, rank, states = 4, 8, 1, 2
        macs = macs_of_clip(Aligned(), H, W, 1)
        offset_net = 9 * dim * dim // 2 + dim // 2 * 2
        reference = 9 * (dim * inner + 4 * inner + inner * (rank + states) + rank * inner)
        target = dim * 2 * inner + inner * states + inner * dim
        assert macs.needed == H * W * (reference + target) + (H + 2) * (W + 2) * offset_net
        assert macs.protocol == H * W * (reference + target + 9 * offset_net)
        assert macs.scan == 9 * H * W * 9 * inner * states


class TestEndlessClip:
    @pytest.mark.slow
    @pytest.mark.timeout(300)
    def test_is_the_difference_of_two_lengths(self):
        options = {"embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "d_state": 4}
        frame, clip = count_macs(lambda: VSRM(**options), 8, 8, 6)
        vsrm = VSRM(**options)
        assert macs_of_clip(vsrm, 8, 8, 6) == clip
        assert macs_of_clip(vsrm, 8, 8, 7) - clip == frame
        assert clip.needed < 6 * frame.needed

    def test_a_short_clip(self):
        frame, clip = count_macs(lambda: OfFrames(nn.Conv2d(3, 1, 1)), 4, 4, 1)
        assert frame == clip == Macs(48, 48, 0)

    def test_a_network_that_asks_for_values(self):
        """BasicVSR++ asks whether the clip is its own mirror image."""
        frame, _ = count_macs(lambda: build_network({"type": "BasicVSRPlusPlus", "num_blocks": 1}), 64, 64, 3)
        assert frame.protocol > 1e9
        assert frame.scan == 0

    def test_leaves_the_ops_as_they_were(self):
        count_macs(lambda: VSRM(embed_dim=8, num_damb=1, num_s2tmb=1), 8, 8, 3)
        u = torch.zeros(1, 2, 3)
        assert BACKENDS.choose("portable", "cpu").__name__ == "selective_scan_portable"
        assert VSRM(embed_dim=8, num_damb=1, num_s2tmb=1)(torch.rand(1, 1, 3, 4, 4)).isfinite().all()
        assert type(u) is torch.Tensor


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_full_network_has_the_multiply_adds_of_the_specification():
    frame, _ = count_macs(VSRM, 64, 64, 3)
    assert frame.protocol * 1e-9 == pytest.approx(219, rel=0.005)
    # The offset network of the alignment once a frame, not once a window.
    assert frame.needed * 1e-9 == pytest.approx(204.4, abs=0.1)
    tokens, pixels = 3 * 64 * 64, 8 * 64 * 64
    assert frame.scan == 9 * 224 * 16 * (4 * 3 * (6 * 2 + 1) * tokens + pixels * 9)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_iart_has_the_multiply_adds_that_are_published():
    frame, _ = count_macs(IART, 64, 64, 3)
    assert round(frame.protocol * 1e-9, 1) == 177.8
    assert frame.scan == 0
