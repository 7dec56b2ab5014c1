import pytest
import torch

from vsrm_arch.layers import DAMB, TGFN, Backbone, BlockDesign, S2TMamba, T2SMamba


def _parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (T2SMamba(112), 90_720),
        (S2TMamba(112), 90_720 + 6_720),
        (T2SMamba(112, bidirectional=True), 90_720 + 6_720),
        (TGFN(112), 44_688),
    ],
    ids=["T2SMamba", "S2TMamba", "T2SMamba both ways", "TGFN"],
)
def test_parameters_match_the_specification(module, expected):
    assert _parameters(module) == expected


@pytest.mark.parametrize("make", [S2TMamba, T2SMamba, TGFN, lambda dim: DAMB(BlockDesign(dim), num_s2tmb=1)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 4), (1, 3, 2, 7)])
def test_shape_is_kept_and_every_parameter_gets_a_gradient(make, shape, device):
    module = make(8).to(device)
    x = torch.randn(*shape, 8, device=device)
    y = module(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


def _reach(module, source, shape=(1, 3, 3, 4)):
    """Which tokens change when one input token does."""
    module = module.double()
    x = torch.randn(*shape, 8, dtype=torch.float64)
    moved = x.clone()
    moved[(0, *source)] += 1.0
    with torch.no_grad():
        return (module(moved) - module(x)).abs().amax(-1)[0] > 1e-12


def test_s2t_reaches_every_token_and_its_forward_path_only_later_ones():
    assert _reach(S2TMamba(8), (1, 1, 2)).all()
    reach = _reach(S2TMamba(8, bidirectional=False), (1, 1, 2))
    later = torch.arange(3 * 3 * 4).view(3, 3, 4) >= 1 * 12 + 1 * 4 + 2
    assert torch.equal(reach, later)


def test_t2s_visits_the_frames_of_a_pixel_before_the_next_pixel():
    reach = _reach(T2SMamba(8), (1, 1, 2))
    visited = torch.arange(3 * 4 * 3).view(3, 4, 3).permute(2, 0, 1)  # (h·W + w)·T + t at [t, h, w]
    assert torch.equal(reach, visited >= (1 * 4 + 2) * 3 + 1)


def test_the_two_directions_of_s2t_mirror_each_other_when_their_weights_are_equal():
    mixer = S2TMamba(8).double()
    with torch.no_grad():
        for parameter in mixer.ssm.parameters(recurse=False):
            parameter[1] = parameter[0]
    x = torch.randn(1, 3, 2, 5, 8, dtype=torch.float64)
    flipped = x.flip(1, 2, 3)
    torch.testing.assert_close(mixer(flipped), mixer(x).flip(1, 2, 3))


def test_step_sizes_start_log_uniform():
    steps = torch.nn.functional.softplus(T2SMamba(256).ssm.dt_bias)
    assert 1e-3 <= steps.min() < 2e-3
    assert 5e-2 < steps.max() <= 1.0001e-1


def test_backbone_adds_the_current_frame():
    backbone = Backbone(BlockDesign(8), num_damb=1, num_s2tmb=1)
    torch.nn.init.zeros_(backbone.conv_after_body.weight)
    torch.nn.init.zeros_(backbone.conv_after_body.bias)
    clip = torch.randn(1, 3, 8, 4, 5)
    torch.testing.assert_close(backbone(clip), clip[:, 1])


def test_tgfn_against_the_formula():
    tgfn = TGFN(4).double()
    x = torch.randn(1, 3, 4, 5, 4, dtype=torch.float64)
    first, second = (x @ tgfn.proj_in.weight.T + tgfn.proj_in.bias).split(4, dim=-1)

    def normalise_and_convolve(half, norm, conv):
        half = (half - half.mean(-1, keepdim=True)) / (half.var(-1, keepdim=True, unbiased=False) + norm.eps).sqrt()
        half = half * norm.weight + norm.bias
        padded = torch.zeros(1, 5, 6, 7, 4, dtype=torch.float64)
        padded[:, 1:-1, 1:-1, 1:-1] = half
        out = conv.bias.expand(1, 3, 4, 5, 4).clone()
        for t in range(3):
            for h in range(3):
                for w in range(3):
                    out += conv.weight[:, 0, t, h, w] * padded[:, t : t + 3, h : h + 4, w : w + 5]
        return out

    first = normalise_and_convolve(first, tgfn.norm1, tgfn.dwconv1)
    second = normalise_and_convolve(second, tgfn.norm2, tgfn.dwconv2)
    gate = second * 0.5 * (1 + torch.erf(second / 2**0.5))
    expected = (first * gate) @ tgfn.proj_out.weight.T + tgfn.proj_out.bias
    torch.testing.assert_close(tgfn(x), expected)
