import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrm_arch.alignments import DCA
from vsrm_arch.alignments import dca as dca_module
from vsrm_arch.alignments.dca import _region_grid
from vsrm_arch.alignments.geometry import locate
from vsrm_arch.ops.encoded_sample import encoded_sample
from vsrm_arch.ops.positional_encoding import sinusoidal_encoding


def sample(feature, position):
    """Bilinear samples of a feature (B, C, H, W) at (B, H, W, K, 2), without the encoding: (B, H, W, K, C)."""
    channels, where = feature.shape[1], position.flatten(1, 3)
    nowhere = torch.zeros_like(where)
    samples = encoded_sample(feature.repeat(1, 2, 1, 1).movedim(1, -1), where, nowhere, extent=4.0)
    samples = samples - sinusoidal_encoding(nowhere, 2 * channels, extent=4.0)
    return samples[..., :channels].reshape(*position.shape[:4], channels)


def _points(dca, reference, flow):
    """The nine sampled points r̄ of every pixel, (B, H, W, 9, C)."""
    corner, _ = locate(flow)
    return sample(reference, corner.unsqueeze(-2) + _region_grid(flow.device) + dca.offsets(reference, corner))


def _constant_flow(dx, dy, size):
    return torch.tensor([float(dx), float(dy)]).view(1, 2, 1, 1).expand(1, 2, *size)


def test_parameters_match_the_specification():
    assert sum(p.numel() for p in DCA(112).parameters()) == 172_426


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 5), (8, 8)])
def test_any_size_gives_the_same_size_and_every_parameter_a_gradient(size, device):
    dca = DCA(8).to(device)
    torch.nn.init.normal_(dca.offset_net[-1].weight)
    reference, target = torch.randn(2, 2, 8, *size, device=device).requires_grad_()
    flow = torch.randn(2, 2, *size, device=device, requires_grad=True)
    aligned = dca(reference, target, flow)
    assert aligned.shape == target.shape
    aligned.square().sum().backward()
    assert [name for name, p in dca.named_parameters() if p.grad is None] == []
    assert flow.grad.abs().sum() > 0


def test_integer_flow_and_zero_offsets_pick_the_neighbourhood():
    dca = DCA(4)
    reference = torch.arange(4 * 8 * 9.0).view(1, 4, 8, 9)
    points = _points(dca, reference, _constant_flow(dx=2, dy=-1, size=(8, 9)))
    for y in range(8):
        for x in range(9):
            for k in range(9):
                row = min(max(y - 1 + k // 3 - 1, 0), 7)
                column = min(max(x + 2 + k % 3 - 1, 0), 8)
                torch.testing.assert_close(points[0, y, x, k], reference[0, :, row, column], atol=1e-3, rtol=0)


def test_fractional_flow_keeps_the_floored_neighbourhood_and_tells_the_remainder():
    dca = DCA(4)
    reference = torch.randn(1, 4, 8, 9)
    whole = _points(dca, reference, _constant_flow(1, 0, (8, 9)))
    torch.testing.assert_close(_points(dca, reference, _constant_flow(1.75, 0.25, (8, 9))), whole)
    _, remainder = locate(_constant_flow(1.75, 0.25, (8, 9)))
    torch.testing.assert_close(remainder, torch.tensor([0.25, 0.75]).expand(1, 8, 9, 2))
    _, remainder = locate(_constant_flow(-1.75, -0.25, (8, 9)))
    torch.testing.assert_close(remainder, torch.tensor([0.75, 0.25]).expand(1, 8, 9, 2))


@given(st.floats(-12, 12), st.floats(-12, 12), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_points_never_leave_the_window(dx, dy, seed):
    torch.manual_seed(seed)
    H, W = 6, 7
    dca = DCA(2)
    torch.nn.init.normal_(dca.offset_net[-1].weight, std=20.0)
    rows = torch.arange(float(H)).view(H, 1).expand(H, W)
    columns = torch.arange(float(W)).view(1, W).expand(H, W)
    points = _points(dca, torch.stack([rows, columns]).unsqueeze(0), _constant_flow(dx, dy, (H, W)))  # samples (y, x)
    corner, _ = locate(_constant_flow(dx, dy, (H, W)))
    low, high = corner - 2, corner + 2
    side = torch.tensor([H - 1.0, W - 1.0])
    low, high = torch.minimum(low.clamp(min=0), side), torch.minimum(high.clamp(min=0), side)
    assert (points >= low.unsqueeze(-2) - 1e-4).all()
    assert (points <= high.unsqueeze(-2) + 1e-4).all()


def test_offsets_equal_the_offset_network_on_every_window():
    torch.manual_seed(1)
    H, W, C = 5, 6, 4
    dca = DCA(C)
    torch.nn.init.normal_(dca.offset_net[-1].weight)
    reference = torch.randn(1, C, H, W)
    flow = 4 * torch.randn(1, 2, H, W)
    corner, _ = locate(flow)
    offsets = dca.offsets(reference, corner)
    for y in range(H):
        for x in range(W):
            rows = (corner[0, y, x, 0].long() + torch.arange(-2, 3)).clamp(0, H - 1)
            columns = (corner[0, y, x, 1].long() + torch.arange(-2, 3)).clamp(0, W - 1)
            window = reference[:, :, rows][..., columns]  # [1, C, 5, 5]
            expected = dca.offset_net(window)[0].tanh().flip(0).permute(1, 2, 0).reshape(9, 2)
            torch.testing.assert_close(offsets[0, y, x], expected)


def test_bilinear_samples_of_the_window():
    feature = torch.arange(20.0).view(1, 1, 4, 5)
    position = torch.tensor([[1.5, 2.25], [-3.0, 0.5], [9.0, 9.0]]).view(1, 1, 1, 3, 2).expand(1, 4, 5, 3, 2)
    torch.testing.assert_close(sample(feature, position)[0, 0, 0, :, 0], torch.tensor([9.75, 0.5, 19.0]))


def test_absurd_flow_neither_fails_nor_overflows():
    dca = DCA(4)
    reference = torch.randn(1, 4, 5, 5)
    for value in (1e30, -1e30):
        points = _points(dca, reference, _constant_flow(value, value, (5, 5)))
        edge = reference[0, :, -1, -1] if value > 0 else reference[0, :, 0, 0]
        torch.testing.assert_close(points, edge.expand_as(points))


def test_cross_mamba_against_equation_11():
    dca = DCA(6, expand=2, d_state=4).double()
    R, Q = torch.randn(3, 9, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    x = F.pad(R @ dca.reference_proj.weight.T, (0, 0, 3, 0))
    taps = dca.conv1d.weight.squeeze(1)
    u = F.silu(sum(x[:, k : k + 9] * taps[:, k] for k in range(4)) + dca.conv1d.bias)
    dt, B = (u @ dca.x_proj.weight.T).split([1, 4], dim=-1)
    delta = F.softplus(dca.dt_proj(dt))
    q, z = (Q @ dca.target_proj.weight.T).chunk(2, dim=-1)
    C = q @ dca.c_proj.weight.T
    A = -dca.A_log.exp()
    h = torch.zeros(3, 12, 4, dtype=torch.float64)
    for t in range(9):
        h = torch.exp(delta[:, t, :, None] * A) * h + delta[:, t, :, None] * B[:, t, None, :] * u[:, t, :, None]
    y = (h * C[:, None, :]).sum(-1) + dca.D * u[:, -1]
    expected = (y * F.silu(z)) @ dca.out_proj.weight.T
    torch.testing.assert_close(dca.cross_mamba(R, Q), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
def test_in_portions_without_gradient(monkeypatch, batch):
    dca = DCA(8)
    torch.nn.init.normal_(dca.offset_net[-1].weight)
    reference, target = torch.randn(2, batch, 8, 5, 7)
    flow = torch.randn(batch, 2, 5, 7)
    whole = dca(reference, target, flow).detach()
    calls = []
    monkeypatch.setattr(DCA, "cross_mamba", lambda *a, run=DCA.cross_mamba: calls.append(len(a[2])) or run(*a))
    for least, most, pixels in ((1, 35, 1), (8, 35, 8), (36, 35, 36), (1, 4, 9), (16, 4, 16)):
        monkeypatch.setattr(dca_module, "_PORTION", least * batch)
        monkeypatch.setattr(dca_module, "_MOST_PORTIONS", most)
        calls.clear()
        with torch.no_grad():
            torch.testing.assert_close(dca(reference, target, flow), whole)
        full, rest = divmod(5 * 7, pixels)
        assert calls == [pixels * batch] * full + [rest * batch] * (rest > 0)
