import pytest
import torch
from basicsr.archs.arch_util import flow_warp
from basicsr.archs.spynet_arch import SpyNet

from vsrm_arch.errors import UserError
from vsrm_arch.layers import build_spynet, estimate_flow


def _shifted(image, dx):
    """A clip of two frames; the content of the second lies dx pixels further right."""
    width = image.shape[-1] - dx
    return torch.stack([image[..., dx:], image[..., :width]]).unsqueeze(0)


@pytest.mark.parametrize("size", [(1, 1), (7, 64), (32, 32), (70, 65)])
@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_any_size_and_length(size, num_frames):
    spynet = build_spynet(None)
    forward, backward = estimate_flow(spynet, torch.rand(2, num_frames, 3, *size))
    assert forward.shape == backward.shape == (2, num_frames - 1, 2, *size)


def test_untrained_flow_is_zero_and_can_learn():
    spynet = build_spynet(None)
    forward, backward = estimate_flow(spynet, torch.rand(1, 2, 3, 64, 64))
    assert not forward.any()
    assert not backward.any()
    (forward.sum() + backward.sum()).backward()
    assert all(level.basic_module[-1].weight.grad.abs().sum() > 0 for level in spynet.basic_module)


def test_without_a_flow_network_nothing_moves():
    forward, backward = estimate_flow(None, torch.rand(1, 3, 3, 20, 30))
    assert forward.shape == backward.shape == (1, 2, 2, 20, 30)
    assert not forward.any()


def test_long_clips_are_split_without_changing_the_result(monkeypatch):
    spynet = build_spynet(None)
    torch.nn.init.normal_(spynet.basic_module[-1].basic_module[-1].weight, std=0.1)
    frames = torch.rand(1, 5, 3, 64, 64)
    whole = estimate_flow(spynet, frames)
    monkeypatch.setattr("vsrm_arch.layers.flow._PIXELS_PER_CALL", 1)
    for a, b in zip(whole, estimate_flow(spynet, frames), strict=True):
        torch.testing.assert_close(a, b)


def test_missing_and_broken_weights_say_so(tmp_path):
    with pytest.raises(UserError, match=r"no file .*nowhere.pth"):
        build_spynet(str(tmp_path / "nowhere.pth"))
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(
        UserError, match=r"broken.pth holds no SpyNet weights .*: it is no checkpoint, or a damaged one"
    ):
        build_spynet(str(broken))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ([torch.zeros(1)], "it has no dict of tensors named params"),
        ({"state_dict": {}}, "it has no dict of tensors named params"),
        ({"params": {"a": 1}}, "it has no dict of tensors named params"),
        (
            {"params": {"a": torch.zeros(1)}},
            r"60 weights missing \(basic_module.0.basic_module.0.weight, .*, …\); 1 weight not in the network \(a\)",
        ),
        (
            {"params": SpyNet().state_dict() | {"basic_module.0.basic_module.0.bias": torch.zeros(3)}},
            r"1 weight of another size \(basic_module.0.basic_module.0.bias is \(3,\), not \(32,\)\)",
        ),
    ],
)
def test_weights_of_another_network_are_told_by_name(tmp_path, content, fault):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=f"^spynet_path: [^\n]*other.pth holds no SpyNet weights [^\n]*: {fault}$"):
        build_spynet(str(path))


def test_weights_without_the_constants_are_loaded(tmp_path):
    weights = SpyNet().state_dict()
    torch.save(
        {"params": {name: value for name, value in weights.items() if name not in ("mean", "std")}}, tmp_path / "s"
    )
    torch.testing.assert_close(build_spynet(str(tmp_path / "s")).state_dict(), weights)


@pytest.mark.data
def test_published_weights_find_a_known_shift_in_the_right_direction(vsrm_data):
    import cv2

    image = cv2.imread(str(vsrm_data / "Vid4/GT/city/00000000.png"))[:256, :388, ::-1] / 255.0
    clip = _shifted(torch.from_numpy(image).permute(2, 0, 1).float(), dx=4)
    spynet = build_spynet(str(vsrm_data / "weights/spynet_sintel_final.pth"))
    with torch.no_grad():
        forward, backward = estimate_flow(spynet, clip)
    inner = (..., slice(32, -32), slice(32, -32))
    # The second frame's content lies 4 px further right: from frame 1 to frame 2 the flow is +4 in x.
    assert (backward[0, 0, 0][inner] - 4).abs().mean() < 0.3
    assert (forward[0, 0, 0][inner] + 4).abs().mean() < 0.3
    assert backward[0, 0, 1][inner].abs().mean() < 0.2
    warped = flow_warp(clip[:, 1], backward[:, 0].movedim(1, -1))
    assert (warped - clip[:, 0])[inner].abs().mean() < 0.02
