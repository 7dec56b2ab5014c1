"""Every network that this package registers, through the registry."""

import pytest
import torch
from basicsr.archs import build_network

ABLATION = {"type": "VSRM", "embed_dim": 12, "num_damb": 1, "num_s2tmb": 1, "d_state": 4, "flow_network": "none"}
NETWORKS = {
    "VSRM": {"type": "VSRM", "embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "d_state": 4},
    "VSRM x2": {"type": "VSRM", "embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "d_state": 4, "scale": 2},
    "VSRM without flow": {"type": "VSRM", "embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "flow_network": "none"},
    "PSRT-recurrent": {"type": "BasicRecurrentSwin", "embed_dim": 8, "depths": (2,), "num_heads": 2, "window": 4},
    "IART": {"type": "IART", "embed_dim": 8, "depths": (2,), "num_heads": 2, "window": 4},
    "VSRM of other blocks": ABLATION | {"mixer": "attention", "t2smb": "none", "ffn": "ffn"},
    "VSRM of convolutions": ABLATION | {"mixer": "dwconv", "ffn": "tgfn_no_split", "alignment": "none"},
    "VSRM with another alignment": ABLATION | {"t2smb": "both", "ffn": "tgfn_no_dwconv", "alignment": "fgda"},
    "VSRM of windows": ABLATION | {"mixer": "window_attention", "alignment": "implicit"},
    "EDVR": {"type": "ClipEDVR", "num_feat": 8, "deformable_groups": 2, "num_reconstruct_block": 1},
    "Bicubic": {"type": "Bicubic"},
}
TRAINABLE = [name for name in NETWORKS if name != "Bicubic"]


def _scale(name):
    return NETWORKS[name].get("scale", 4)


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


@pytest.fixture
def network(name, device):
    return build_network(NETWORKS[name]).to(device)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 17, 9), (2, 2, 8, 12), (1, 4, 5, 70)])
def test_any_size_and_length(name, network, shape, device):
    batch, num_frames, height, width = shape
    with torch.no_grad():
        out = network(torch.rand(batch, num_frames, 3, height, width, device=device))
    assert out.shape == (batch, num_frames, 3, _scale(name) * height, _scale(name) * width)
    assert out.isfinite().all()


@pytest.mark.parametrize("name", TRAINABLE, indirect=True)
def test_every_parameter_gets_a_gradient(name, network, device):
    network(torch.rand(1, 4, 3, 8, 8, device=device)).square().mean().backward()
    assert [key for key, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def test_state_dict_round_trip(name, network, device):
    other = build_network(NETWORKS[name]).to(device)
    other.load_state_dict(network.state_dict())
    lq = torch.rand(1, 2, 3, 8, 8, device=device)
    with torch.no_grad():
        torch.testing.assert_close(network(lq), other(lq), rtol=0, atol=0)


def test_bfloat16_autocast_stays_close(name, network, device):
    lq = torch.rand(1, 3, 3, 12, 12, device=device)
    with torch.no_grad():
        exact = network(lq)
        with torch.autocast(device.type, torch.bfloat16):
            rounded = network(lq)
    assert (rounded.float() - exact).abs().max() < 0.05


def test_clips_of_a_batch_do_not_mix(network, device):
    lq = torch.rand(3, 3, 3, 8, 8, device=device)
    with torch.no_grad():
        torch.testing.assert_close(network(lq)[1:2], network(lq[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TRAINABLE, indirect=True)
def test_a_float64_copy_agrees(name, network, device):
    lq = torch.rand(1, 2, 3, 8, 8, device=device)
    with torch.no_grad():
        torch.testing.assert_close(network.double()(lq.double()).float(), network.float()(lq), rtol=1e-4, atol=1e-4)
