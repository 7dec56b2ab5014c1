"""LPIPS: what the package itself says, and what is told where it or its weights are missing."""

import sys
import warnings
from urllib.error import URLError

import lpips as package
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric

from vsrm_arch.errors import UserError
from vsrm_arch.metrics import calculate_lpips, lpips, traits


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)


@pytest.fixture
def no_network(monkeypatch):
    def download(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)


def by_the_package(net, img, img2):
    """RGB in [-1, 1]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = package.LPIPS(net=net, verbose=False)
    tensors = (torch.tensor(image[..., ::-1] / 127.5 - 1).float().permute(2, 0, 1)[None] for image in (img, img2))
    with torch.no_grad():
        return network(*tensors).item()


@pytest.mark.parametrize(("net", "trunk"), [("alex", "alexnet"), ("squeeze", "squeezenet1_1")])
def test_equals_the_package(random_trunk, frames, net, trunk):
    random_trunk(trunk)
    expected = by_the_package(net, *frames)
    assert calculate_lpips(*frames, 0, net=net) == pytest.approx(expected, rel=1e-5)
    assert calculate_lpips(*frames.astype(np.float64), 0, net=net) == pytest.approx(expected, rel=1e-5)
    assert calculate_lpips(*frames.transpose(0, 3, 1, 2), 0, input_order="CHW", net=net) == pytest.approx(expected)
    assert expected > 0
    assert calculate_lpips(frames[0], frames[0], 0, net=net) == 0
    # Blue is not red.
    assert calculate_lpips(*frames[..., ::-1], 0, net=net) != pytest.approx(expected, rel=1e-3)


def test_the_border_is_left_out(random_trunk, frames):
    random_trunk("alexnet")
    inner = by_the_package("alex", *frames[:, 4:-4, 4:-4])
    assert calculate_lpips(*frames, 4) == pytest.approx(inner, rel=1e-5)


def test_basicsr_finds_it(random_trunk, frames):
    random_trunk("alexnet")
    options = {"type": "calculate_lpips", "crop_border": 0, "better": "lower"}
    assert calculate_metric({"img": frames[0], "img2": frames[1]}, options) == calculate_lpips(*frames, 0)


def test_the_network_is_built_once_and_quietly(random_trunk, frames, capfd):
    random_trunk("alexnet")
    states = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {calculate_lpips(*frames, 0) for _ in range(3)}
    assert len(values) == 1
    assert lpips._network.cache_info().misses == 1
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), states), "a training would go on otherwise than without this metric"
    assert not any(parameter.requires_grad for parameter in lpips._network("alex").parameters())


@pytest.mark.gpu
def test_on_a_gpu(random_trunk, frames):
    random_trunk("alexnet")
    assert calculate_lpips(*frames, 0) == pytest.approx(by_the_package("alex", *frames), rel=0.01)
    assert next(lpips._network("alex").parameters()).is_cuda


class TestErrors:
    def test_without_the_package(self, random_trunk, frames, monkeypatch):
        monkeypatch.setitem(sys.modules, "lpips", None)
        message = r"^calculate_lpips needs the package lpips: pip install 'vsrm-arch\[metrics\]'$"
        with pytest.raises(UserError, match=message):
            calculate_lpips(*frames, 0)

    @pytest.mark.parametrize(
        ("options", "trunk", "file"),
        [
            ({}, "alexnet", "alexnet-owt-7be5be79.pth"),
            ({"net": "vgg"}, "vgg16", "vgg16-397923af.pth"),
            ({"net": "squeeze"}, "squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"),
        ],
    )
    def test_without_weights(self, random_trunk, no_network, tmp_path, options, trunk, file):
        with pytest.raises(UserError) as error:
            traits.prepare({"type": "calculate_lpips", "crop_border": 0} | options)
        message = str(error.value)
        assert message.startswith(
            f"calculate_lpips: no weights of {trunk} (<urlopen error no route to host>); download"
        )
        assert message.endswith(f"/{file} and save it as {tmp_path}/torch/hub/checkpoints/{file}")
        assert "\n" not in message

    def test_damaged_weights(self, random_trunk, frames):
        path = random_trunk("squeezenet1_1")
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(UserError, match=r"^calculate_lpips: no weights of squeezenet1_1 \(.*\); download .*pth$"):
            calculate_lpips(*frames, 0, net="squeeze")

    @pytest.mark.parametrize(("net", "smallest"), [("alex", 31), ("squeeze", 17)])
    def test_small_frames(self, random_trunk, frames, net, smallest):
        random_trunk({"alex": "alexnet", "squeeze": "squeezenet1_1"}[net])
        assert calculate_lpips(*frames[:, :smallest], 0, net=net) > 0
        message = f"{smallest - 1}x64 pixels are too few for net: {net}, which takes {smallest} and more on each side"
        with pytest.raises(UserError, match=message):
            calculate_lpips(*frames[:, : smallest - 1], 0, net=net)

    def test_a_border_without_an_inside(self, frames):
        with pytest.raises(UserError, match=r"crop_border: 24 leaves nothing of 48x64 pixels; lower it"):
            calculate_lpips(*frames, 24)

    def test_another_size(self, frames):
        with pytest.raises(ValueError, match=r"shapes differ: \(48, 64, 3\) and \(48, 60, 3\)"):
            calculate_lpips(frames[0], frames[1, :, :60], 0)
