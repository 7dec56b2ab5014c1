import pytest
import torch
from torch import nn

from vsrm_arch.layers import SwinBackbone, SwinBlock, WindowAttention


def attention_by_definition(attention, x, norm):
    """Every token against every other, those outside of its window hidden; positions relative in the frame itself."""
    B, T, H, W, C = x.shape
    side, heads = attention.window, attention.num_heads
    position = torch.cartesian_prod(torch.arange(T), torch.arange(H), torch.arange(W))
    window = (position[:, 1:] - attention.shift).div(side, rounding_mode="floor")
    together = (window.unsqueeze(1) == window.unsqueeze(0)).all(-1)
    t, y, x_ = (position.unsqueeze(1) - position.unsqueeze(0)).unbind(-1)
    span = 2 * side - 1
    index = ((t + 2) * span + y + side - 1) * span + x_ + side - 1
    bias = attention.relative_position_bias_table[index.where(together, 0)].movedim(-1, 0)
    q, k, v = attention.qkv(norm(x)).reshape(B, T * H * W, 3, heads, C // heads).permute(2, 0, 3, 1, 4)
    affinity = (q @ k.mT) * (C // heads) ** -0.5 + bias
    y = affinity.masked_fill(~together, -torch.inf).softmax(-1) @ v
    return x + attention.proj(y.transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize("shift", [0, 2, 1])
@pytest.mark.parametrize("size", [(8, 12), (4, 4), (4, 8)])
def test_window_attention_against_its_definition(size, shift):
    attention, norm = WindowAttention(8, num_heads=2, window=4, shift=shift), nn.LayerNorm(8)
    nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(2, 3, *size, 8)
    ours, expected = attention(x, norm), attention_by_definition(attention, x, norm)
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(ours)
    gradients = (torch.autograd.grad((out * weight).sum(), attention.parameters()) for out in (ours, expected))
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_mlp_of_a_block():
    block = SwinBlock(8, num_heads=2, window=4)
    nn.init.zeros_(block.attn.proj.weight)
    nn.init.zeros_(block.attn.proj.bias)
    x = torch.randn(1, 3, 4, 4, 8)
    expected = x + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(x))))
    torch.testing.assert_close(block(x), expected)


def test_every_second_block_is_shifted():
    backbone = SwinBackbone(8, depths=(3, 2), num_heads=2, window=8)
    shifts = [m.shift for m in backbone.modules() if isinstance(m, WindowAttention)]
    assert shifts == [0, 4, 0, 0, 4]


def test_frames_are_padded_to_whole_windows_by_their_border():
    backbone, seen = SwinBackbone(8, depths=(2,), num_heads=2, window=4), []
    backbone.layers.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    clip = torch.randn(1, 3, 8, 5, 7)
    assert backbone(clip).shape == (1, 8, 5, 7)
    tokens = backbone.patch_embed["norm"](clip.movedim(2, -1))
    padded = tokens[:, :, [0, 1, 2, 3, 4, 4, 4, 4]][:, :, :, [0, 1, 2, 3, 4, 5, 6, 6]]
    torch.testing.assert_close(seen, [padded])


def test_backbone_starts_from_the_centre_frame():
    backbone = SwinBackbone(8, depths=(1,), num_heads=2, window=4)
    nn.init.zeros_(backbone.conv_after_body.weight)
    nn.init.zeros_(backbone.conv_after_body.bias)
    clip = torch.randn(2, 3, 8, 6, 5)
    torch.testing.assert_close(backbone(clip), clip[:, 1])
