import json
import re
import sys

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.metrics import calculate_psnr

from vsrm_arch.data.bicubic import downscale
from vsrm_arch.data.prepare.sample import VAL_SHOTS, render
from vsrm_arch.errors import UserError
from vsrm_arch.inference import load, save, super_resolve
from vsrm_arch.sizes import SizeRequirements
from vsrm_arch.weights import METADATA_KEY, network_metadata

SMALL = {"type": "VSRM", "embed_dim": 4, "num_damb": 1, "num_s2tmb": 1, "d_state": 2, "upsampler_dim": 4}
SMALL |= {"scale": 2, "flow_network": "none"}
SUFFIXES = ("pth", "pt", "safetensors")


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(1)
    return build_network(SMALL).state_dict()


def assert_same(network, weights):
    assert network.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


class TestSample:
    def test_is_the_demonstration(self):
        sample = load("sample")
        assert (sample.name, sample.source, sample.scale, sample.iteration) == ("VSRM", "sample", 4, 200)
        assert sample.demonstration
        assert sum(parameter.numel() for parameter in sample.network.parameters()) == 159_069
        assert not sample.network.training
        assert not any(parameter.requires_grad for parameter in sample.network.parameters())
        assert all(parameter.dtype == torch.float32 for parameter in sample.network.parameters())

    def test_beats_bicubic_enlargement(self):
        """On five frames of a photograph that took no part in the training."""
        truth = [render(VAL_SHOTS[0], index, num_frames=5, side=192) for index in range(5)]
        lq = torch.from_numpy(np.stack([downscale(frame, 4) for frame in truth])).movedim(-1, 1).flip(1)[None] / 255
        sample = load("sample")

        def psnr(network):
            frames = super_resolve(network, lq, scale=4)[0].clamp(0, 1).mul(255).round().byte().flip(1).movedim(1, -1)
            return np.mean([calculate_psnr(f.numpy(), t, 0) for f, t in zip(frames, truth, strict=True)])

        assert psnr(sample.network) > psnr(build_network({"type": "Bicubic"})) + 0.3


class TestFiles:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_what_is_saved_is_loaded(self, tmp_path, weights, suffix):
        path = tmp_path / f"small.{suffix}"
        save(path, SMALL, weights, scale=2, iteration=7)
        loaded = load(path)
        assert_same(loaded.network, weights)
        assert (loaded.name, loaded.source, loaded.scale, loaded.iteration) == ("VSRM", str(path), 2, 7)
        assert not loaded.demonstration
        assert SMALL.items() <= loaded.options.items()
        assert list(tmp_path.iterdir()) == [path]

    def test_the_header_of_a_safetensors_file(self, tmp_path, weights):
        from safetensors import safe_open

        save(tmp_path / "small.safetensors", SMALL, weights, scale=2)
        with safe_open(tmp_path / "small.safetensors", framework="pt") as file:
            header = file.metadata()
        assert header["format"] == "pt"
        assert json.loads(header[METADATA_KEY]) == network_metadata(SMALL, 2, None)

    def test_strided_and_shared_memory_is_saved(self, tmp_path, weights):
        shared = torch.zeros(2, 8).t()
        save(tmp_path / "a.safetensors", SMALL, {"a": shared, "b": shared[:4]}, scale=2)
        with pytest.raises(UserError, match=r"2 weights not in the network \(a, b\)"):
            load(tmp_path / "a.safetensors")

    @pytest.mark.parametrize("keys", [("params", "params_ema"), ("params",), ("params_ema",), ()])
    def test_averaged_weights_come_first(self, tmp_path, weights, keys):
        content = {key: {name: value + (key == "params") for name, value in weights.items()} for key in keys}
        expected = {name: value + (keys == ("params",)) for name, value in weights.items()}
        torch.save(content or {f"module.{name}": value for name, value in weights.items()}, tmp_path / "a.pth")
        assert_same(load(tmp_path / "a.pth", SMALL).network, expected)

    def test_half_precision_becomes_float32(self, tmp_path, weights):
        save(tmp_path / "a.pth", SMALL, {name: value.half() for name, value in weights.items()}, scale=2)
        loaded = load(tmp_path / "a.pth").network
        assert_same(loaded, {name: value.half().float() for name, value in weights.items()})

    def test_no_path_is_followed(self, tmp_path, weights):
        network = SMALL | {"spynet_path": str(tmp_path / "nowhere.pth")}
        metadata = {"network": network, "scale": 2}
        torch.save({"params": weights, "metadata": metadata}, tmp_path / "a.pth")
        assert load(tmp_path / "a.pth").options["spynet_path"] is None
        torch.save({"params": weights}, tmp_path / "b.pth")
        assert load(tmp_path / "b.pth", network).options["spynet_path"] is None

    def test_a_file_that_says_what_it_is_needs_no_network(self, tmp_path, weights, caplog):
        save(tmp_path / "a.pth", SMALL, weights, scale=2)
        assert_same(load(tmp_path / "a.pth", SMALL | {"spynet_path": "elsewhere.pth"}).network, weights)
        assert not caplog.messages
        assert load(tmp_path / "a.pth", {"type": "Bicubic"}).name == "VSRM"
        assert "a.pth says itself which network it belongs to; the one given is another" in caplog.text

    def test_networks_of_basicsr(self, tmp_path):
        options = {"type": "BasicVSRPlusPlus", "mid_channels": 4, "num_blocks": 1}
        torch.save({"params": build_network(options).state_dict()}, tmp_path / "a.pth")
        loaded = load(tmp_path / "a.pth", options)
        assert (loaded.scale, loaded.requirements) == (4, SizeRequirements(minimum=64))
        assert loaded.iteration is None

    @pytest.mark.parametrize(("metadata", "expected"), [({}, 2), ({"scale": 3}, 3)])
    def test_scale(self, tmp_path, weights, metadata, expected):
        torch.save({"params": weights, "metadata": {"network": SMALL} | metadata}, tmp_path / "a.pth")
        assert load(tmp_path / "a.pth").scale == expected

    def test_device(self, device):
        network = load("sample", device=device).network
        assert {parameter.device.type for parameter in network.parameters()} == {device.type}

    def test_no_warning_of_a_flow_network_without_weights(self, tmp_path, caplog):
        options = SMALL | {"flow_network": "spynet"}
        save(tmp_path / "a.pth", options, build_network(options).state_dict(), scale=2)
        caplog.clear()
        load(tmp_path / "a.pth")
        assert not caplog.messages


def test_the_suffixes_of_files_that_cannot_be(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(b"")
    for call in (lambda: load(tmp_path / "a.ckpt"), lambda: save(tmp_path / "a.ckpt", SMALL, {}, scale=2)):
        with pytest.raises(UserError, match=r"a.ckpt does not end in .pth, .pt or .safetensors$"):
            call()


PAGE = b"<!DOCTYPE html>\n<html><body>Not found</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
NO_METADATA = "{path} does not say which network it belongs to; give its network_g as the argument network (on the"
UNFIT = "{path} does not fit the network VSRM: "


class TestFaults:
    def expect(self, path, message, **arguments):
        with pytest.raises(UserError, match=re.escape(message.format(path=path))) as caught:
            load(path, **arguments)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500 + len(str(path))

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "weights: cannot read {path}: No such file or directory; check the path"),
            ("folder", "weights: {path} is a folder; name a file in it"),
            (b"", "weights: {path} is no checkpoint, or a damaged one"),
            (b"garbage " * 99, "weights: {path} is no checkpoint, or a damaged one"),
            (PAGE, "weights: {path} is a web page, not the weights: download the file"),
            (POINTER, "weights: {path} is a pointer of Git LFS, not the weights: fetch them with `git lfs pull`"),
            ("truncated", "weights: {path} is no checkpoint, or a damaged one"),
        ],
    )
    def test_what_is_no_file_of_weights(self, tmp_path, weights, suffix, content, message):
        path = tmp_path / f"a.{suffix}"
        if content == "folder":
            path.mkdir()
        elif content == "truncated":
            save(path, SMALL, weights, scale=2)
            path.write_bytes(path.read_bytes()[:-2000])
        elif content is not None:
            path.write_bytes(content)
        self.expect(path, message)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({}, "{path} holds no weights, but nothing: they are to be under params_ema or params"),
            ({"epoch": 1, "iter": 2}, "{path} holds no weights, but epoch, iter: they are to be under"),
            ({"params": {"a": 1}, "metadata": {}}, "{path} holds no weights, but a: they are"),
            ({"params": {"a": torch.zeros(1)}}, NO_METADATA),
            ({"params": {"a": torch.zeros(1)}, "metadata": "VSRM"}, NO_METADATA),
            ({"a": torch.zeros(1)}, NO_METADATA),
        ],
    )
    def test_content(self, tmp_path, content, message):
        torch.save(content, tmp_path / "a.pth")
        self.expect(tmp_path / "a.pth", message)

    @pytest.mark.parametrize(
        ("network", "message"),
        [
            ("VSRM", "{path}: metadata.network: no section with a type; name a registered network there"),
            ({}, "{path}: metadata.network: no section with a type"),
            ({"type": "VSRN"}, "{path}: metadata.network.type: no network named 'VSRN' is registered; did you mean"),
            (SMALL | {"embed": 4}, "{path}: metadata.network: unknown key 'embed'; did you mean 'embed_dim'?"),
            (SMALL | {"embed_dim": "4"}, "{path}: metadata.network.embed_dim: expected an integer, got '4'"),
            (SMALL | {"embed_dim": 5}, "{path}: metadata.network: VSRM cannot be built from these values: embed_dim"),
            (SMALL | {"embed_dim": 8}, UNFIT),
            (SMALL | {"t2smb": "none"}, UNFIT),
        ],
    )
    def test_metadata(self, tmp_path, weights, network, message):
        torch.save({"params": weights, "metadata": {"network": network}}, tmp_path / "a.pth")
        self.expect(tmp_path / "a.pth", message)

    @pytest.mark.parametrize("scale", [0, 2.5, "4", True, None])
    def test_scale(self, tmp_path, weights, scale):
        torch.save({"params": weights, "metadata": {"network": SMALL, "scale": scale}}, tmp_path / "a.pth")
        self.expect(tmp_path / "a.pth", f"weights: {{path}}: metadata.scale: expected an integer from 1, got {scale!r}")

    @pytest.mark.parametrize(
        ("network", "message"),
        [
            ({"type": "Nothing"}, "network.type: no network named 'Nothing' is registered"),
            ({"embed_dim": 4}, "network: no section with a type"),
            (SMALL | {"num_damb": 2}, "Give the network_g that it was trained with"),
        ],
    )
    def test_the_network_given(self, tmp_path, weights, network, message):
        torch.save({"params": weights}, tmp_path / "a.pth")
        self.expect(tmp_path / "a.pth", message, network=network)

    def test_metadata_of_a_safetensors_file(self, tmp_path, weights):
        from safetensors.torch import save_file

        path = tmp_path / "a.safetensors"
        save_file(weights, path)
        self.expect(path, NO_METADATA)
        assert_same(load(path, SMALL).network, weights)
        save_file(weights, path, {METADATA_KEY: "{"})
        self.expect(path, "weights: {path}: vsrm_arch in its header is no JSON; make the file anew")

    def test_a_name_that_is_none(self):
        self.expect("another", "weights: another is no file; give one (.pth, .pt, .safetensors), a path USER/")

    def test_without_safetensors(self, tmp_path, monkeypatch, weights):
        for module in ("safetensors", "safetensors.torch"):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match=r"^writing .*a.safetensors needs safetensors: pip install 'vsrm-arch"):
            save(tmp_path / "a.safetensors", SMALL, weights, scale=2)
        with pytest.raises(UserError, match=r"reading .*a.safetensors needs safetensors: pip install 'vsrm-arch"):
            load(tmp_path / "a.safetensors")


class TestSave:
    def test_a_folder_that_is_missing(self, tmp_path, weights):
        with pytest.raises(UserError, match=r"^cannot write .*a.pth: No such file or directory; check the path$"):
            save(tmp_path / "nowhere" / "a.pth", SMALL, weights, scale=2)

    def test_a_network_that_is_not_registered(self, tmp_path):
        with pytest.raises(UserError, match=r"^network.type: no network named 'VSRN' is registered; did you mean"):
            save(tmp_path / "a.pth", {"type": "VSRN"}, {}, scale=2)
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_gives_the_same(tmp_path, strict):
    """With each op as one operation, and no trace of CUDA graphs or autocast."""
    network, lq = load("sample").network, torch.rand(1, 2, 3, 12, 13)
    program = torch.export.export(network, (lq,), strict=strict)
    operations = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    ours = {f"vsrm_arch.{op}.default" for op in ("selective_scan", "causal_conv1d", "cross_scan")}
    assert {name for name in operations if not name.startswith(("aten.", "<built-in"))} == ours
    torch.export.save(program, tmp_path / "vsrm.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "vsrm.pt2").module()(lq), network(lq))
