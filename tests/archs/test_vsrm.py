import pytest
import torch
from torch import nn

from vsrm_arch.archs import VSRM

SMALL = {"embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "d_state": 4}


def _count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_match_the_specification():
    """The table of the specification, part by part."""
    with torch.device("meta"):
        vsrm = VSRM()
    mixers = [m for m in vsrm.modules() if type(m).__name__ in ("S2TMamba", "T2SMamba")]
    private_backward = sum(p[1:].numel() for m in mixers for p in m.ssm.parameters(recurse=False))
    table = {
        "SpyNet": (_count(vsrm.spynet), 1_440_300),
        "conv_first": (_count(vsrm.conv_first), 3_136),
        "84 Mamba mixers, forward set": (sum(map(_count, mixers)) - private_backward, 7_620_480),
        "72 private backward sets": (private_backward, 483_840),
        "84 TGFN": (sum(_count(m) for m in vsrm.modules() if type(m).__name__ == "TGFN"), 3_753_792),
        "LayerNorms of the blocks and branches": (
            sum(_count(m) for n, m in vsrm.named_modules() if isinstance(m, nn.LayerNorm) and ".ffn." not in n),
            37_632 + 1_792,
        ),
        "24 DAMB convs": (
            sum(_count(m.conv1) + _count(m.conv2) for m in vsrm.modules() if type(m).__name__ == "DAMB"),
            2_712_192,
        ),
        "4 conv_after_body": (sum(_count(b.conv_after_body) for b in vsrm.branches.values()), 452_032),
        "DCA": (_count(vsrm.align), 172_426),
        "upsampler": (_count(vsrm.upsampler), 398_659),
    }
    assert {name: measured for name, (measured, _) in table.items()} == {
        name: want for name, (_, want) in table.items()
    }
    assert len(mixers) == 84
    assert _count(vsrm) == 17_076_281


# The paper's ablations (Tab. 3-6): what differs, our parameters, and the paper's millions where both count alike.
ABLATIONS = [
    ({}, 8_602_605, 8.61),
    ({"mixer": "attention"}, 6_679_341, None),
    ({"mixer": "window_attention"}, 6_679_341, None),
    ({"mixer": "dwconv"}, 7_864_749, None),
    ({"alignment": "none"}, 8_528_335, 8.53),
    ({"alignment": "fgda"}, 8_762_423, None),
    ({"alignment": "implicit"}, 8_544_103, None),
    ({"t2smb": "none"}, 7_872_525, 7.87),
    ({"t2smb": "both"}, 8_650_989, 8.65),
    ({"ffn": "ffn"}, 8_675_181, 8.68),
    ({"ffn": "tgfn_no_dwconv"}, 8_263_917, 8.27),
    ({"ffn": "tgfn_no_split"}, 9_400_941, 9.41),
]


@pytest.mark.parametrize(("values", "parameters", "published"), ABLATIONS)
def test_parameters_of_the_ablations(values, parameters, published):
    with torch.device("meta"):
        count = _count(VSRM(embed_dim=72, **values))
    assert count == parameters
    assert published is None or abs(count / 1e6 - published) < 0.01


def test_the_defaults_draw_the_weights_that_they_always_drew():
    torch.manual_seed(0)
    weights = VSRM(**SMALL).state_dict()
    assert len(weights) == 329
    assert sum(w.double().abs().sum().item() for w in weights.values()) == pytest.approx(28366.872528904205, rel=1e-7)
    assert torch.rand(1).item() == pytest.approx(0.8517683744430542)


def test_without_alignment_the_flow_network_does_not_run():
    vsrm = VSRM(**SMALL, alignment="none")
    vsrm.spynet.forward = None  # to call it would fail
    assert vsrm(torch.rand(1, 2, 3, 4, 5)).shape == (1, 2, 3, 16, 20)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        *(({name: 0}, f"{name} is 0; it must be at least 1") for name in SMALL),
        ({"expand": 0}, "expand is 0; it must be at least 1"),
        ({"d_conv": -1}, "d_conv is -1; it must be at least 1"),
        ({"upsampler_dim": 0}, "upsampler_dim is 0; it must be at least 1"),
        ({"num_heads": 0}, "num_heads is 0; it must be at least 1"),
        ({"alignment": "flow"}, "alignment is flow; it must be one of dca, fgda, implicit, none"),
        ({"embed_dim": 15}, "embed_dim is 15; it must be even: one half encodes a position's y, the other its x"),
    ],
)
def test_sizes_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        VSRM(**SMALL | values)


@pytest.mark.parametrize("checkpoint", [True, ["backward_1", "forward_2"]])
def test_checkpointing_changes_no_output_and_no_gradient(checkpoint):
    plain = VSRM(**SMALL)
    saving = VSRM(**SMALL, checkpoint=checkpoint)
    saving.load_state_dict(plain.state_dict())
    lq = torch.rand(1, 4, 3, 8, 8)
    for vsrm in (plain, saving):
        vsrm(lq).square().mean().backward()
    gradients = dict(plain.named_parameters())
    for name, p in saving.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name].grad, msg=lambda m, name=name: f"{name}: {m}")


def test_an_unknown_branch_is_named():
    with pytest.raises(ValueError, match="checkpoint: no branch sideways; the branches are backward_1, forward_1"):
        VSRM(**SMALL, checkpoint=["sideways"])


def test_every_frame_sees_every_other():
    vsrm = VSRM(**SMALL).double()
    lq = torch.rand(1, 6, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    for frame in range(6):
        (gradient,) = torch.autograd.grad(vsrm(lq)[:, frame].sum(), lq)
        assert (gradient.abs().amax((0, 2, 3, 4)) > 0).all()
