"""The alignments that the paper compares with its own (Tab. 4)."""

import math

import pytest
import torch

from vsrm_arch.alignments import GuidedDeformableAttention, NoAlignment


def _attention(dim=6, num_heads=3, **kwargs):
    """With offsets that the features decide."""
    align = GuidedDeformableAttention(dim, num_heads, **kwargs)
    torch.nn.init.normal_(align.offset_net[-1].weight)
    return align


def test_parameters_of_guided_deformable_attention():
    assert sum(p.numel() for p in GuidedDeformableAttention(72).parameters()) == 234_088


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 5)])
def test_any_size_gives_the_same_size_and_every_parameter_a_gradient(size, device):
    align = _attention().to(device)
    reference, target = torch.randn(2, 2, 6, *size, device=device).requires_grad_()
    flow = torch.randn(2, 2, *size, device=device, requires_grad=True)
    aligned = align(reference, target, flow)
    assert aligned.shape == target.shape
    aligned.square().sum().backward()
    assert [name for name, p in align.named_parameters() if p.grad is None] == []
    assert flow.grad.abs().sum() > 0


def test_points_start_on_the_grid_around_the_flow():
    align = GuidedDeformableAttention(6, 3)
    reference, target = torch.randn(2, 1, 6, 4, 5)
    flow = torch.tensor([1.5, -0.25]).view(1, 2, 1, 1).expand(1, 2, 4, 5)
    positions = align.positions(reference, target, flow)
    for k in range(9):
        expected = torch.tensor([3 + 1.5 + k % 3 - 1, 2 - 0.25 + k // 3 - 1])
        torch.testing.assert_close(positions[0, :, k, 2, 3], expected.expand(3, 2))


def test_points_move_by_at_most_the_largest_offset():
    align = _attention(max_offset=2.0)
    reference, target = torch.randn(2, 1, 6, 4, 5)
    flow = torch.randn(1, 2, 4, 5)
    moved = align.positions(reference, target, flow)
    torch.nn.init.zeros_(align.offset_net[-1].weight)
    way = (moved - align.positions(reference, target, flow)).abs()
    assert 0.1 < way.max() <= 2.0


def test_guided_deformable_attention_against_the_formula():
    H, W, C, heads = 3, 4, 6, 3
    align = _attention(C, heads).double()
    reference, target = torch.randn(2, 1, C, H, W, dtype=torch.float64)
    flow = torch.randn(1, 2, H, W, dtype=torch.float64)
    positions = align.positions(reference, target, flow)
    k_weight, v_weight = align.kv_proj.weight.chunk(2)
    k_bias, v_bias = align.kv_proj.bias.chunk(2)
    d = 2 * C // heads

    def bilinear(values, x, y):
        """A sum over the pixels whose distance is below one along both axes; zero outside the frame."""
        weights = {
            (row, column): max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
            for row in range(H)
            for column in range(W)
        }
        return sum(weight * values[:, row, column] for (row, column), weight in weights.items())

    keys = torch.einsum("oc,chw->ohw", k_weight, reference[0]) + k_bias[:, None, None]
    values = torch.einsum("oc,chw->ohw", v_weight, reference[0]) + v_bias[:, None, None]
    expected = torch.empty(C, H, W, dtype=torch.float64)
    for row in range(H):
        for column in range(W):
            q = align.q_proj.weight @ target[0, :, row, column] + align.q_proj.bias
            mixed = []
            for head in range(heads):
                part = slice(head * d, (head + 1) * d)
                points = [p.tolist() for p in positions[0, head, :, row, column]]
                sampled = [bilinear(keys[part], *point) for point in points]
                scores = torch.stack([(q[part] @ key) / math.sqrt(d) for key in sampled])
                weights = scores.exp() / scores.exp().sum()
                mixed.append(sum(w * bilinear(values[part], *p) for w, p in zip(weights, points, strict=True)))
            aligned = align.out_proj(torch.cat(mixed))
            expected[:, row, column] = aligned + align.ffn(aligned)
    torch.testing.assert_close(align(reference, target, flow)[0], expected)


def test_heads_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match="12 heads do not divide 2 x 16 channels: change embed_dim"):
        GuidedDeformableAttention(16)


def test_no_alignment_hands_on_the_reference():
    reference, target = torch.randn(2, 1, 3, 4, 5)
    align = NoAlignment()
    assert align(reference, target, torch.ones(1, 2, 4, 5)) is reference
    assert list(align.parameters()) == []
