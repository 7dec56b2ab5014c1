import math

import pytest
import torch

from vsrm_arch.alignments import ImplicitAlignment


def encoded(y, x, dim, extent):
    """The published encoding, a channel at a time: the channels of y, then those of x."""
    half = dim // 2
    channels = []
    for p in (y, x):
        for k in range(half):
            angle = p * 2 * math.pi / (extent + 1e-6) / 0.01 ** (2 * (k // 2) / half)
            channels.append(math.cos(angle) if k % 2 else math.sin(angle))
    return torch.tensor(channels)


def align_by_definition(module, reference, target, flow):
    """Pixel by pixel, head by head."""
    _, C, H, W = target.shape
    aligned = torch.zeros_like(target)
    for y in range(H):
        for x in range(W):
            to_x, to_y = x + float(flow[0, 0, y, x]), y + float(flow[0, 1, y, x])
            top, left = math.floor(to_y), math.floor(to_x)
            cells = []
            for i in (0, 1):
                for j in (0, 1):
                    pixel = reference[0, :, min(max(top + i, 0), H - 1), min(max(left + j, 0), W - 1)]
                    cells.append(pixel + encoded(i, j, C, 1.0))
            cells = torch.stack(cells)
            q = module.q(target[0, :, y, x] + encoded(to_y - top, to_x - left, C, 2.0))
            for head in torch.arange(C).chunk(module.num_heads):
                affinity = module.k(cells)[:, head] @ q[head] / math.sqrt(len(head))
                aligned[0, head, y, x] = affinity.softmax(0) @ module.v(cells)[:, head]
    return aligned


@torch.no_grad()
def test_against_the_definition():
    module = ImplicitAlignment(8, num_heads=2)
    for layer in (module.q, module.k):
        torch.nn.init.normal_(layer.weight)
    reference, target = torch.randn(2, 1, 8, 4, 5)
    flow = 3 * torch.randn(1, 2, 4, 5)
    expected = align_by_definition(module, reference, target, flow)
    torch.testing.assert_close(module(reference, target, flow), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 5)])
def test_any_size_and_every_gradient(size):
    module = ImplicitAlignment(8, num_heads=2)
    reference, target = torch.randn(2, 2, 8, *size).requires_grad_()
    flow = torch.randn(2, 2, *size, requires_grad=True)
    aligned = module(reference, target, flow)
    assert aligned.shape == target.shape
    aligned.square().sum().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []
    assert flow.grad.abs().sum() > 0


def test_the_constants_of_published_checkpoints():
    constants = dict(ImplicitAlignment(8, num_heads=2).named_buffers())
    assert constants["window_idx_offset"].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    torch.testing.assert_close(constants["position_bias"][0, 2], encoded(1, 0, 8, 1.0), atol=1e-4, rtol=0)
