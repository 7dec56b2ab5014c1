import os
import re

import pytest
import torch
from torch import nn

from vsrm_arch import __version__
from vsrm_arch.errors import UserError
from vsrm_arch.weights import fit, load_weights, network_metadata, read


class Small(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3)
        self.last = nn.Conv2d(channels, 12, 3)
        self.register_buffer("calls", torch.zeros(()))


class Evil:
    def __reduce__(self):
        return (os.system, ("touch evil",))


BAD_FILES = [
    (None, "path.pretrain_network_g: cannot read {path}: No such file or directory; check the path"),
    (b"", "path.pretrain_network_g: {path} is no checkpoint, or a damaged one"),
    (b"<html>not found</html>", "path.pretrain_network_g: {path} is a web page, not the weights: download the file"),
    ("truncated", "path.pretrain_network_g: {path} is no checkpoint, or a damaged one"),
    ({"params": {"a": Evil()}}, "path.pretrain_network_g: {path} holds Python objects besides tensors"),
    ([torch.zeros(1)], "path.pretrain_network_g: {path} holds a list, not a dict of weights"),
    (
        {"state_dict": {}, "epoch": 1},
        "path.param_key_g: {path} has no params; it has state_dict, epoch: set",
    ),
    ({"params": {"a": 1}}, "path.param_key_g: params of {path} is not a dict of tensors"),
    (
        {"params": Small(channels=5).state_dict()},
        "path.pretrain_network_g: {path} does not fit the network Small: 3 weights of another size (first.weight is "
        "(5, 3, 3, 3), not (4, 3, 3, 3), first.bias is (5,), not (4,), last.weight is",
    ),
    (
        {"params": nn.ModuleDict({"other": nn.Conv2d(3, 4, 3)}).state_dict()},
        "does not fit the network Small: 5 weights missing (calls, first.weight, first.bias, …); 2 weights not in "
        "the network (other.weight, other.bias). Set network_g accordingly, or load what fits by",
    ),
    (
        {"params": {}, "metadata": {"network": {"type": "VSRM", "embed_dim": 72}}},
        "The file was made with network_g {{'type': 'VSRM', 'embed_dim': 72}}. Set network_g accordingly",
    ),
    ({"params": {}, "metadata": {"package": "other"}}, "first.bias, …). Set network_g accordingly"),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES)
def test_bad_network_files(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "truncated":
        torch.save({"params": Small().state_dict()}, path)
        path.write_bytes(path.read_bytes()[:-1000])
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=re.escape(message.format(path=path))) as caught:
        load_weights(Small(), path, "params")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "evil").exists()


def test_what_is_read_lies_on_the_cpu(tmp_path):
    torch.save({"params": {"a": torch.ones(2)}, "iter": 3}, tmp_path / "a.pth")
    content = read(tmp_path / "a.pth", "weights")
    assert content["iter"] == 3
    assert content["params"]["a"].device.type == "cpu"


class TestFit:
    def test_its_own_weights(self):
        network = Small()
        fitting, faults = fit(network, network.state_dict())
        assert faults == []
        assert fitting.keys() == network.state_dict().keys()

    def test_others(self):
        weights = Small(channels=5).state_dict() | {"other": torch.zeros(1)}
        del weights["calls"]
        fitting, faults = fit(Small(), weights)
        assert fitting.keys() == {"last.bias"}
        assert [fault.partition(" (")[0] for fault in faults] == [
            "1 weight missing",
            "1 weight not in the network",
            "3 weights of another size",
        ]


class TestLoadWeights:
    def test_from_safetensors(self, tmp_path):
        from safetensors.torch import save_file

        source, network = Small(), Small()
        save_file(source.state_dict(), tmp_path / "a.safetensors")
        load_weights(network, tmp_path / "a.safetensors", "params_ema", fallback="params")
        assert torch.equal(network.first.weight, source.first.weight)

    def test_what_fits(self, tmp_path, caplog):
        source, network = Small(channels=5), Small()
        torch.save({"params": source.state_dict()}, tmp_path / "other.pth")
        load_weights(network, tmp_path / "other.pth", "params", strict=False)
        assert torch.equal(network.last.bias, source.last.bias)
        assert "loading only what fits: 3 weights of another size" in caplog.text

    def test_the_fallback_where_the_key_is_missing(self, tmp_path):
        source, network = Small(), Small()
        torch.save({"params": source.state_dict()}, tmp_path / "a.pth")
        load_weights(network, tmp_path / "a.pth", "params_ema", fallback="params")
        assert torch.equal(network.first.weight, source.first.weight)


def test_metadata_hold_no_paths_and_plain_values():
    network_g = {"type": "VSRM", "spynet_path": "/home/me/spynet.pth", "embed_dim": (1, {"a": torch.float32})}
    metadata = network_metadata(network_g, 2, 7)
    network = metadata.pop("network")
    assert metadata == {"package": f"vsrm_arch {__version__}", "scale": 2, "iteration": 7}
    assert network["type"] == "VSRM"
    assert network["spynet_path"] is None
    assert network["embed_dim"] == [1, {"a": "torch.float32"}]
    assert network["num_damb"] == 3
