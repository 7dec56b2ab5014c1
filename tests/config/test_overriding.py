"""--force_yml: sets what there is to set, and executes nothing."""

import pytest

from vsrm_arch import config
from vsrm_arch.config import OptionError


class TestOverride:
    @pytest.mark.parametrize(
        ("assignment", "path", "value"),
        [
            ("train:total_iter=5", ("train", "total_iter"), 5),
            ("train:ema_decay=0.99", ("train", "ema_decay"), 0.99),
            ("train:ema_decay = 1e-3", ("train", "ema_decay"), 1e-3),
            ("train:ema_decay=!!float 2e-4", ("train", "ema_decay"), 2e-4),
            ("manual_seed=~", ("manual_seed",), None),
            ("manual_seed=null", ("manual_seed",), None),
            ("manual_seed=none", ("manual_seed",), None),
            ("name=a=b", ("name",), "a=b"),
            ("name=011", ("name",), "011"),
            ("val:save_img=True", ("val", "save_img"), True),
            ("datasets:train:gt_size=32", ("datasets", "train", "gt_size"), 32),
            ("train.total_iter=5", ("train", "total_iter"), 5),
            ("network_g:scale=2", ("network_g", "scale"), 2),
            ("train:pixel_opt:loss_weight=[1, 2]", ("train", "pixel_opt", "loss_weight"), [1, 2]),
            # Sections and keys that the file leaves out, but the structures know.
            ("val:window:num_frame=7", ("val", "window", "num_frame"), 7),
            ("logger:print_freq=1", ("logger", "print_freq"), 1),
            ("path:pretrain_network_g=x.pth", ("path", "pretrain_network_g"), "x.pth"),
            ("val:metrics:psnr:test_y_channel=true", ("val", "metrics", "psnr", "test_y_channel"), True),
            # A metric bears any name.
            ("val:metrics:mine={type: dummy_metric}", ("val", "metrics", "mine"), {"type": "dummy_metric"}),
        ],
    )
    def test_sets(self, options, assignment, path, value):
        result = config.override(options, assignment)
        for key in path:
            result = result[key]
        assert result == value
        assert type(result) is type(value)

    def test_leaves_its_input_alone(self, options):
        config.override(options, "train:total_iter=5", "val:window:num_frame=7")
        assert options["train"]["total_iter"] == 100
        assert "window" not in options["val"]

    def test_in_the_order_given(self, options):
        assert config.override(options, "name=a", "name=b")["name"] == "b"

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("train:total_itr=5", "unknown key 'total_itr' in train; did you mean 'total_iter'?"),
            ("tran:total_iter=5", "unknown key 'tran' at the top of the option file; did you mean 'train'?"),
            ("val:window:frames=7", "unknown key 'frames' in val:window; did you mean 'num_frame'?"),
            ("datasets:train:gt_sise=32", "unknown key 'gt_sise' in datasets:train; did you mean 'gt_size'?"),
            ("datasets:test:gt_size=32", "unknown key 'test' in datasets; known: train, val"),
            ("network_g:dims=2", "unknown key 'dims' in network_g; did you mean 'dim'?"),
            ("val:metrics:psnr:crop=4", "unknown key 'crop' in val:metrics:psnr; did you mean 'crop_border'?"),
            ("val:metrics:psrn:crop_border=4", "unknown key 'psrn' in val:metrics; did you mean 'psnr'?"),
            ("name:x=5", "name is 'trial', not a section"),
            ("train", "expected section:key=value"),
            ("=5", "expected section:key=value"),
            ("train::x=5", "expected section:key=value"),
            ("train:ema_decay=", "the value is missing; write null for none"),
            ("train:ema_decay=[1", "--force_yml train:ema_decay=[1: expected ',' or ']'"),
        ],
    )
    def test_refuses(self, options, assignment, message):
        with pytest.raises(OptionError) as error:
            config.override(options, assignment)
        assert message in str(error.value)
        assert "--force_yml" in str(error.value)
        assert "\n" not in str(error.value)

    def test_adds_nothing_to_sections_without_structure(self, stock_options):
        with pytest.raises(OptionError, match="unknown key 'use_hflip' in datasets:train"):
            config.override(stock_options, "datasets:train:use_hflip=true")

    def test_adds_arguments_of_stock_networks(self, stock_options):
        assert config.override(stock_options, "network_g:num_block=2")["network_g"]["num_block"] == 2

    @pytest.mark.parametrize(
        "assignment",
        [
            'x"]=__import__("os").system("touch pwned")#=1',
            'name"]=__import__("os").system("touch pwned");opt["name=1',
            'name=!!python/object/apply:os.system ["touch pwned"]',
            'train:"+__import__("os").system("touch pwned")+"=1',
        ],
    )
    def test_runs_nothing(self, options, assignment, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(OptionError, match="--force_yml"):
            config.override(options, assignment)
        assert not (tmp_path / "pwned").exists()

    def test_takes_code_for_text(self, options, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        # BasicSR calls eval() on what starts with a bracket.
        code = '__import__("os").system("touch pwned")'
        assert config.override(options, f"train:pixel_opt=[{code}]")["train"]["pixel_opt"] == [code]
        assert not (tmp_path / "pwned").exists()
