"""parse_options in BasicSR's place: the flags, and the option dict that the pipelines get."""

import argparse
import sys

import pytest
import torch

from vsrm_arch import config
from vsrm_arch.config import OptionError
from vsrm_arch.errors import UserError


@pytest.fixture
def start(write_options, tmp_path):
    """Calls parse_options with flags in place of the process's."""

    def call(options, *flags, is_train=True):
        parser = argparse.ArgumentParser()
        config.add_flags(parser)
        args = parser.parse_args(["-opt", write_options(options), *flags])
        with config.launch(args) as current:
            parsed, _ = config.parse_options(str(tmp_path), is_train)
        assert current.options is parsed
        return parsed

    return call


class TestParseOptions:
    def test_what_the_training_pipeline_expects(self, start, options, tmp_path):
        parsed = start(options, "--auto_resume")
        folder = tmp_path / "experiments" / "trial"
        assert parsed["path"] == {
            "pretrain_network_g": None,
            "experiments_root": str(folder),
            "log": str(folder),
            "models": str(folder / "models"),
            "training_states": str(folder / "training_states"),
            "visualization": str(folder / "visualization"),
        }
        kept = ("is_train", "auto_resume", "dist", "rank", "world_size", "manual_seed", "root_path", "num_gpu")
        assert {key: parsed[key] for key in kept} == {
            "is_train": True,
            "auto_resume": True,
            "dist": False,
            "rank": 0,
            "world_size": 1,
            "manual_seed": 3,
            "root_path": str(tmp_path),
            "num_gpu": torch.cuda.device_count(),
        }
        assert not (tmp_path / "experiments").exists()

    def test_what_the_test_pipeline_expects(self, start, options, tmp_path):
        options["datasets"] = {"test_1": {"name": "Vid4", "type": "DummyClips"}}
        parsed = start(options, is_train=False)
        folder = tmp_path / "results" / "trial"
        assert parsed["path"] == {
            "pretrain_network_g": None,
            "results_root": str(folder),
            "log": str(folder),
            "visualization": str(folder / "visualization"),
        }
        assert parsed["auto_resume"] is False

    def test_debug(self, start, options):
        parsed = start(options, "--debug")
        assert parsed["name"] == "debug_trial"
        assert parsed["val"]["val_freq"] == 8
        assert (parsed["logger"]["print_freq"], parsed["logger"]["save_checkpoint_freq"]) == (1, 8)

    def test_debug_without_validation(self, start, options):
        options["name"], options["val"] = "debug_trial", None
        parsed = start(options, "--debug")
        assert parsed["name"] == "debug_trial"
        assert parsed["val"] is None

    def test_debug_leaves_tests_alone(self, start, options):
        options["datasets"] = {"test": {"name": "Vid4", "type": "DummyClips"}}
        assert start(options, "--debug", is_train=False)["val"]["val_freq"] == 50

    def test_the_seed_makes_runs_equal(self, start, options):
        start(options)
        first = torch.rand(3)
        start(options)
        assert torch.equal(first, torch.rand(3))

    def test_draws_a_seed(self, start, options):
        del options["manual_seed"]
        assert 1 <= start(options)["manual_seed"] <= 10000

    def test_overrides(self, start, options):
        parsed = start(options, "--force_yml", "train:ema_decay=0.5", "name=other")
        assert (parsed["train"]["ema_decay"], parsed["name"]) == (0.5, "other")

    def test_an_override_at_fault_is_told_as_such(self, start, options):
        with pytest.raises(OptionError, match=r"a\.yml with --force_yml: train\.ema_decay: expected a number, got 'x'"):
            start(options, "--force_yml", "train:ema_decay=x")

    def test_reads_the_flags_of_the_process(self, write_options, options, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["train.py", "-opt", write_options(options), "--local-rank=0"])
        parsed, args = config.parse_options(str(tmp_path))
        assert parsed["name"] == "trial"
        assert args.launcher == "none"

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    @pytest.mark.parametrize("flags", [(), ("--launcher", "pytorch")])
    def test_refuses_gpus_that_are_not_there(self, start, options, flags):
        options["num_gpu"] = 8
        with pytest.raises(OptionError, match="num_gpu: 8 asked for, but CUDA finds 0; write auto"):
            start(options, *flags)

    def test_refuses_a_negative_number_of_gpus(self, start, options):
        options["num_gpu"] = -1
        with pytest.raises(OptionError, match="num_gpu: expected a number of GPUs or auto, got -1"):
            start(options)

    def test_refuses_several_processes_without_a_launcher(self, start, options, monkeypatch):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(
            UserError, match="torchrun has started 2 processes, but the command has no --launcher pytorch"
        ):
            start(options)

    def test_refuses_a_launcher_that_did_not_launch(self, start, options, monkeypatch):
        for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(UserError, match=r"RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT not set; .* with torchrun"):
            start(options, "--launcher", "pytorch")
