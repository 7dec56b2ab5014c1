"""``doctor``: what it finds, and the remedy it names."""

import importlib
import importlib.metadata
import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from vsrm_arch import cli
from vsrm_arch.cli import diagnosis, doctor


def problem(report, words):
    """The one problem that says ``words``."""
    found = [p for p in report.problems if words in p.what]
    assert len(found) == 1, [p.what for p in report.problems]
    return found[0]


class TestExamine:
    def test_this_machine(self, tmp_path):
        report = diagnosis.examine(tmp_path)
        assert report.usable
        assert report.versions["torch"] == torch.__version__.split("+")[0]
        assert {"python", "torchvision", "basicsr", "vsrm-arch", "mamba-ssm", "causal-conv1d", "triton", "av"} <= set(
            report.versions
        )
        cpu = report.devices[-1]
        assert (cpu.name, cpu.capability) == ("cpu", None)
        assert cpu.memory > 2**28
        chosen = [line for line in report.backends if line.device_type == "cpu" and line.chosen]
        assert sorted(line.op for line in chosen) == [
            "causal_conv1d",
            "cross_scan",
            "encoded_sample",
            "gated_conv3d",
            "gated_linear",
            "norm_linear",
            "selective_scan",
        ]
        assert all(line.available for line in chosen)
        assert all(line.reason for line in report.backends if not line.available)
        assert report.folders == {"datasets/": "made when needed", "experiments/": "made when needed"}

    def test_flow_weights(self, tmp_path):
        missing = diagnosis.examine(tmp_path)
        assert not problem(missing, "no weights of the optical flow").fatal
        folder = tmp_path / "experiments" / "pretrained_models" / "flownet"
        folder.mkdir(parents=True)
        (folder / "spynet.pth").touch()
        found = diagnosis.examine(tmp_path)
        assert found.flow_weights == ["experiments/pretrained_models/flownet/spynet.pth"]
        assert found.folders["experiments/"] == "writable"
        assert not [p for p in found.problems if "optical flow" in p.what]

    def test_a_package_that_cannot_be_imported(self, tmp_path, monkeypatch):
        real = importlib.import_module

        def broken(name, *args):
            if name == "lmdb":
                raise ImportError("liblmdb.so: cannot open\nmore")
            return real(name, *args)

        monkeypatch.setattr(importlib, "import_module", broken)
        report = diagnosis.examine(tmp_path)
        found = problem(report, "lmdb cannot be imported: liblmdb.so: cannot open")
        assert found.fatal
        assert "\n" not in found.what
        assert found.remedy == "pip install --force-reinstall lmdb"
        assert not report.usable

    def test_without_video(self, tmp_path, monkeypatch):
        real = importlib.metadata.version

        def version(name):
            if name == "av":
                raise importlib.metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(importlib.metadata, "version", version)
        report = diagnosis.examine(tmp_path)
        assert report.versions["av"] is None
        assert problem(report, "no PyAV").remedy == "pip install 'vsrm-arch[video]'"
        assert report.usable

    def test_without_the_cuda_packages(self):
        versions = dict.fromkeys(("mamba-ssm", "causal-conv1d"))
        text = doctor.render(diagnosis.Report(versions=versions))
        assert text.count(": the README's section Backends says how to install the extra cuda)\n") == 2

    @pytest.mark.parametrize(
        ("value", "words", "remedy"),
        [
            ("fast", "VSRM_SELECTIVE_SCAN_BACKEND is 'fast'; the backends are", "unset the variable"),
            ("mamba_ssm", "selective_scan on cpu: mamba_ssm is asked for, but", "unset VSRM_SELECTIVE_SCAN_BACKEND"),
        ],
    )
    def test_a_backend_that_cannot_run(self, tmp_path, monkeypatch, value, words, remedy):
        monkeypatch.setenv("VSRM_SELECTIVE_SCAN_BACKEND", value)
        report = diagnosis.examine(tmp_path)
        found = problem(report, words)
        assert found.fatal
        assert found.remedy.startswith(remedy)

    @pytest.mark.parametrize(("exists", "state"), [(True, "not writable"), (False, "cannot be made")])
    def test_folders_that_are_not_ours(self, tmp_path, monkeypatch, exists, state):
        if exists:
            (tmp_path / "datasets").mkdir()
            (tmp_path / "experiments").mkdir()
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        report = diagnosis.examine(tmp_path)
        assert report.folders == {"datasets/": state, "experiments/": state}
        assert not problem(report, f"{tmp_path}/datasets").fatal
        assert problem(report, f"{tmp_path}/experiments").fatal
        assert "run in a folder of yours" in problem(report, f"{tmp_path}/experiments").remedy

    @pytest.mark.parametrize(("free", "fatal"), [(2**30, False), (2**20, True)])
    def test_a_full_disk(self, tmp_path, monkeypatch, free, fatal):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free, total=2**40))
        assert problem(diagnosis.examine(tmp_path), "GiB are free on this disk").fatal is fatal

    def test_little_shared_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**40, total=2**26))
        if not diagnosis.Path("/dev/shm").is_dir():
            pytest.skip("this system has no /dev/shm")
        assert "--shm-size" in problem(diagnosis.examine(tmp_path), "only 64 MiB of shared memory").remedy

    def test_a_gpu(self, tmp_path, monkeypatch):
        card = SimpleNamespace(name="Card", total_memory=8 * 2**30, major=7, minor=5)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (6 * 2**30, 8 * 2**30))
        monkeypatch.setattr(torch, "ones", lambda *size, device: torch.zeros(*size))
        report = diagnosis.examine(tmp_path)
        assert report.devices[0] == diagnosis.Device("cuda:0", "Card", 8 * 2**30, 6 * 2**30, "7.5", False)
        assert {line.device_type for line in report.backends} == {"cpu", "cuda"}
        assert "cuda:0         Card, 8.0 GiB, 6.0 free, compute capability 7.5, no bf16" in doctor.render(report)

    def test_a_gpu_that_does_not_answer(self, tmp_path, monkeypatch):
        card = SimpleNamespace(name="Card", total_memory=8 * 2**30, major=3, minor=5)

        def fail(index):
            raise RuntimeError("CUDA error: no kernel image is available\nmore")

        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
        monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
        found = problem(diagnosis.examine(tmp_path), "cuda:0 (Card) cannot be used: CUDA error: no kernel image")
        assert found.fatal
        assert "\n" not in found.what

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    def test_a_driver_without_a_gpu(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
        found = problem(diagnosis.examine(tmp_path), "there is an NVIDIA driver, but PyTorch")
        assert "CUDA_VISIBLE_DEVICES" in found.remedy


class TestCommand:
    def test_text(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert cli.main(["doctor"]) == 0
        text = capsys.readouterr().out
        for heading in ("versions", "devices", "backends", "tools", "files", "problems"):
            assert f"{heading}\n" in text
        assert "selective_scan    cpu   portable        used" in text
        assert "flow weights   not found" in text

    def test_json(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert cli.main(["doctor", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["usable"] is True
        assert report["devices"][-1]["name"] == "cpu"
        assert report["free_disk"] > 0

    def test_the_exit_status_of_a_fault(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("VSRM_CROSS_SCAN_BACKEND", "none")
        assert cli.main(["doctor"]) == 1
        text = capsys.readouterr().out
        assert "  error: cross_scan: the environment variable VSRM_CROSS_SCAN_BACKEND is 'none'" in text
        assert "    remedy: unset the variable" in text

    def test_nothing_wrong(self):
        assert doctor.render(diagnosis.Report()).endswith("no problems found")
