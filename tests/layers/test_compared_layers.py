"""The layers that the paper's ablations put in the place of its own (Tab. 3, 5 and 6)."""

import math

import pytest
import torch
from torch import nn

from vsrm_arch.layers import DAMB, FFN, TGFN, BlockDesign, DepthwiseMixer, FullAttention, WindowAttention

LAYERS = {
    "FFN": lambda: FFN(12),
    "TGFN without DWConv": lambda: TGFN(12, dwconv=False),
    "TGFN without split": lambda: TGFN(12, split=False),
    "FullAttention": lambda: FullAttention(12),
    "WindowAttention": lambda: WindowAttention(12, window=1, relative_bias=False),
    "DepthwiseMixer": lambda: DepthwiseMixer(12),
}


@pytest.fixture(params=LAYERS)
def layer(request, device):
    return LAYERS[request.param]().to(device)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 4)])
def test_shape_is_kept_and_every_parameter_gets_a_gradient(layer, shape, device):
    x = torch.randn(*shape, 12, device=device)
    y = layer(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert [name for name, p in layer.named_parameters() if p.grad is None] == []


def test_with_a_norm_it_is_a_residual_block(layer, device):
    norm = nn.LayerNorm(12, device=device)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(1, 2, 3, 4, 12, device=device)
    torch.testing.assert_close(layer(x, norm), x + layer(norm(x)))


def linear(x, layer):
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def normalised(x, norm):
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + norm.eps).sqrt()
    return x * norm.weight + norm.bias


def convolved(x, conv):
    """A 3x3x3 depthwise convolution of (1, T, H, W, C), zero padded."""
    _, T, H, W, channels = x.shape
    padded = torch.zeros(1, T + 2, H + 2, W + 2, channels, dtype=x.dtype)
    padded[:, 1:-1, 1:-1, 1:-1] = x
    taps = ((t, h, w) for t in range(3) for h in range(3) for w in range(3))
    return conv.bias + sum(conv.weight[:, 0, t, h, w] * padded[:, t : t + T, h : h + H, w : w + W] for t, h, w in taps)


class TestFormulas:
    X = torch.randn(1, 3, 4, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def test_ffn(self):
        ffn = FFN(4).double()
        torch.testing.assert_close(ffn(self.X), linear(gelu(linear(self.X, ffn.proj_in)), ffn.proj_out))

    def test_tgfn_without_dwconv(self):
        tgfn = TGFN(4, dwconv=False).double()
        first, second = linear(self.X, tgfn.proj_in).split(4, dim=-1)
        gated = normalised(first, tgfn.norm1) * gelu(normalised(second, tgfn.norm2))
        torch.testing.assert_close(tgfn(self.X), linear(gated, tgfn.proj_out))

    def test_tgfn_without_split(self):
        tgfn = TGFN(4, split=False).double()
        whole = linear(self.X, tgfn.proj_in)
        first = convolved(normalised(whole, tgfn.norm1), tgfn.dwconv1)
        second = convolved(normalised(whole, tgfn.norm2), tgfn.dwconv2)
        torch.testing.assert_close(tgfn(self.X), linear(first * gelu(second), tgfn.proj_out))

    def test_depthwise_mixer(self):
        mixer = DepthwiseMixer(4).double()
        x, z = linear(self.X, mixer.in_proj).split(8, dim=-1)
        mixed = convolved(x, mixer.dwconv)
        expected = linear(mixed * mixed.sigmoid() * z * z.sigmoid(), mixer.out_proj)
        torch.testing.assert_close(mixer(self.X), expected)

    def test_full_attention(self):
        attention = FullAttention(4, num_heads=2).double()
        tokens = self.X.reshape(60, 4)
        q, k, v = linear(tokens, attention.qkv).split(4, dim=-1)
        mixed = torch.empty(60, 4, dtype=torch.float64)
        for head in (slice(0, 2), slice(2, 4)):
            weights = (q[:, head] @ k[:, head].T / math.sqrt(2)).exp()
            mixed[:, head] = weights / weights.sum(1, keepdim=True) @ v[:, head]
        torch.testing.assert_close(attention(self.X), linear(mixed, attention.proj).reshape(self.X.shape))


@pytest.mark.parametrize("mixer", ["mamba", "attention", "dwconv"])
@pytest.mark.parametrize("t2smb", ["forward", "none"])
def test_a_damb_of_every_mixer(mixer, t2smb, device):
    damb = DAMB(BlockDesign(12, mixer=mixer, t2smb=t2smb), num_s2tmb=1).to(device)
    damb(torch.randn(1, 3, 4, 5, 12, device=device)).square().sum().backward()
    assert [name for name, p in damb.named_parameters() if p.grad is None] == []
    assert any(name.startswith("t2smb") for name, _ in damb.named_parameters()) == (t2smb == "forward")


def test_both_directions_give_t2smb_a_second_path():
    damb = DAMB(BlockDesign(8, t2smb="both"), num_s2tmb=1)
    assert len(damb.t2smb.mixer.ssm.D) == 2


def test_a_window_as_large_as_the_frame_sees_all_of_it():
    whole, windows = FullAttention(12), WindowAttention(12, window=4, relative_bias=False)
    windows.load_state_dict(whole.state_dict())
    x = torch.randn(2, 5, 4, 4, 12)
    torch.testing.assert_close(windows(x), whole(x))
    # Each of four windows is a frame of its own.
    frames = x.repeat(1, 1, 2, 2, 1)
    torch.testing.assert_close(windows(frames), whole(x).repeat(1, 1, 2, 2, 1))


def test_every_second_block_shifts_its_windows():
    damb = DAMB(BlockDesign(12, mixer="window_attention"), num_s2tmb=3)
    assert [block.mixer.shift for block in (*damb.s2tmb, damb.t2smb)] == [0, 4, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixer": "conv"}, "mixer is conv; it must be one of mamba, attention, window_attention, dwconv"),
        ({"t2smb": "backward"}, "t2smb is backward; it must be one of forward, both, none"),
        ({"ffn": "mlp"}, "ffn is mlp; it must be one of tgfn, tgfn_no_dwconv, tgfn_no_split, ffn"),
        (
            {"mixer": "dwconv", "t2smb": "both"},
            "t2smb is both: directions are those of a scan, and the mixer is dwconv",
        ),
    ],
)
def test_designs_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        BlockDesign(8, **values)


def test_heads_that_do_not_divide_the_channels():
    for attention in (FullAttention, WindowAttention):
        with pytest.raises(ValueError, match="6 heads do not divide 8 channels: change num_heads or embed_dim"):
            attention(8)
