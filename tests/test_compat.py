"""The workarounds for BasicSR, each against the fault that it answers."""

import importlib
import pickle
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from basicsr.archs.basicvsrpp_arch import BasicVSRPlusPlus
from basicsr.archs.spynet_arch import SpyNet
from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher, PrefetchDataLoader
from basicsr.models.base_model import BaseModel
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset

from vsrm_arch import compat
from vsrm_arch.errors import UserError


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class TestInstallation:
    def test_restores_the_function_that_torchvision_dropped(self):
        from torchvision.transforms.functional_tensor import rgb_to_grayscale

        assert rgb_to_grayscale(torch.ones(3, 2, 2)).shape == (1, 2, 2)

    def test_restores_version_numbers_without_distutils(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        for name in ("distutils", "distutils.version"):
            monkeypatch.setitem(sys.modules, name, None)
        compat._restore_distutils()
        from distutils.version import LooseVersion

        assert LooseVersion("0.29.2+cpu") >= LooseVersion("0.9.0")
        assert not LooseVersion("0.8.9") >= LooseVersion("0.9.0")

    def test_once_is_enough(self):
        before = BasicVSRPlusPlus.__init__, BaseModel.model_to_device, CPUPrefetcher.__init__
        importlib.reload(compat)
        assert before == (BasicVSRPlusPlus.__init__, BaseModel.model_to_device, CPUPrefetcher.__init__)

    @pytest.mark.slow
    def test_after_basicsr(self):
        """A user may have imported BasicSR first, with a workaround of their own."""
        code = (
            "import sys, types, torchvision.transforms.functional as f\n"
            "m = types.ModuleType('functional_tensor'); m.rgb_to_grayscale = f.rgb_to_grayscale\n"
            "sys.modules['torchvision.transforms.functional_tensor'] = m\n"
            "import basicsr.train as train, basicsr.test as test, basicsr.utils.options as options\n"
            "stock = train.parse_options\n"
            "import vsrm_arch, basicsr\n"
            "from vsrm_arch.config import parse_options\n"
            "from vsrm_arch.distributed import init_dist\n"
            "assert stock is not parse_options\n"
            "assert train.parse_options is test.parse_options is options.parse_options is basicsr.parse_options\n"
            "assert train.parse_options is parse_options and options.init_dist is init_dist\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


class TestSafety:
    def test_the_stock_loader_builds_no_objects(self, tmp_path):
        import yaml
        from basicsr.utils.options import ordered_yaml

        loader, _ = ordered_yaml()
        with pytest.raises(yaml.constructor.ConstructorError, match="could not determine a constructor"):
            yaml.load(f"a: !!python/object/apply:os.mkdir ['{tmp_path}/pwned']", Loader=loader)
        assert not (tmp_path / "pwned").exists()

    @pytest.mark.parametrize("forced", [False, True])
    def test_checkpoints_are_weights(self, tmp_path, monkeypatch, forced):
        torch.save({"params": Touch(tmp_path / "pwned")}, tmp_path / "net.pth")
        if forced:
            monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
            compat._load_weights_only()
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            SpyNet(str(tmp_path / "net.pth"))
        model = BaseModel({"num_gpu": 0, "is_train": False, "dist": False})
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            model.load_network(nn.Conv2d(1, 1, 1), str(tmp_path / "net.pth"))
        assert not (tmp_path / "pwned").exists()

    def test_resuming_needs_no_cuda(self, tmp_path):
        from basicsr.train import load_resume_state

        paths = {"training_states": str(tmp_path / "training_states"), "models": str(tmp_path / "models")}
        opt = {"auto_resume": True, "name": "trial", "path": paths, "network_g": {}, "rank": 0}
        assert load_resume_state(opt) is None


class TestCopyOptFile:
    @pytest.fixture
    def copy(self):
        from basicsr.train import copy_opt_file

        return copy_opt_file

    def test_the_copy_says_where_it_is_from(self, copy, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["basicsr", "train", "--force_yml", "name=a b"])
        source = tmp_path / "a.yml"
        source.write_text("name: é  # Ünïcode\n", encoding="utf-8")
        copy(str(source), str(tmp_path / "experiments" / "trial"))
        text = (tmp_path / "experiments" / "trial" / "a.yml").read_text(encoding="utf-8")
        assert "# basicsr train --force_yml 'name=a b'\n" in text
        assert text.endswith("\n\nname: é  # Ünïcode\n")
        assert sorted(p.name for p in (tmp_path / "experiments" / "trial").iterdir()) == ["a.yml"]

    def test_a_file_that_lies_there_already_stays_as_it_is(self, copy, tmp_path):
        source = tmp_path / "a.yml"
        source.write_text("name: a\n")
        copy(str(source), str(tmp_path))
        assert source.read_text() == "name: a\n"

    def test_an_earlier_copy_is_replaced(self, copy, tmp_path):
        (tmp_path / "trial").mkdir()
        (tmp_path / "trial" / "a.yml").write_text("name: a much longer earlier copy\n" * 9)
        (tmp_path / "a.yml").write_text("name: a\n")
        copy(str(tmp_path / "a.yml"), str(tmp_path / "trial"))
        assert "earlier" not in (tmp_path / "trial" / "a.yml").read_text()


class Items(Dataset):
    def __init__(self, broken=None):
        self.broken = broken

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == self.broken:
            raise UserError("item 4 is broken")
        return torch.tensor(index)


class TestPrefetching:
    def read(self, prefetcher):
        prefetcher.reset()
        items = []
        while (item := prefetcher.next()) is not None:
            items += item.tolist()
        return items

    def test_cpu_prefetcher(self):
        prefetcher = CPUPrefetcher(DataLoader(Items(), batch_size=2))
        assert self.read(prefetcher) == [0, 1, 2, 3, 4, 5]
        assert self.read(prefetcher) == [0, 1, 2, 3, 4, 5]

    def test_starts_the_workers_once(self):
        started = []

        class Loader:
            def __iter__(self):
                started.append(1)
                return iter([])

        prefetcher = CPUPrefetcher(Loader())
        prefetcher.reset()
        assert len(started) == 1

    @pytest.mark.timeout(60)
    def test_an_error_in_the_thread_is_raised(self):
        prefetcher = CPUPrefetcher(PrefetchDataLoader(num_prefetch_queue=1, dataset=Items(broken=4), batch_size=2))
        with pytest.raises(UserError, match="item 4 is broken"):
            self.read(prefetcher)

    @pytest.mark.timeout(60)
    def test_the_thread_ends(self):
        prefetcher = CPUPrefetcher(PrefetchDataLoader(num_prefetch_queue=1, dataset=Items(), batch_size=2))
        assert self.read(prefetcher) == [0, 1, 2, 3, 4, 5]

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    def test_cuda_prefetching_without_cuda(self):
        from basicsr.train import CUDAPrefetcher as Chosen

        assert self.read(Chosen(DataLoader(Items(), batch_size=2), {"num_gpu": 0})) == [0, 1, 2, 3, 4, 5]
        with pytest.raises(Exception, match=r"(?i)cuda"):
            CUDAPrefetcher(DataLoader(Items(), batch_size=2), {"num_gpu": 1})


class TestEmptyEpochs:
    @pytest.mark.parametrize(
        ("batch", "message"), [(2, None), (7, "6 items in 1 processes do not fill one batch of 7")]
    )
    def test_refuses(self, monkeypatch, batch, message):
        from basicsr import train

        monkeypatch.setattr(train, "build_dataset", lambda opt: Items())
        opt = {
            "datasets": {"train": {"phase": "train", "batch_size_per_gpu": batch, "num_worker_per_gpu": 0}},
            "train": {"total_iter": 1},
            "num_gpu": 0,
            "dist": False,
            "world_size": 1,
            "rank": 0,
            "manual_seed": 0,
        }
        quiet = SimpleNamespace(info=lambda text: None)
        if message is None:
            assert len(train.create_train_val_dataloader(opt, quiet)[0]) == 3
        else:
            with pytest.raises(UserError, match=f"datasets.train: {message}; lower batch_size_per_gpu"):
                train.create_train_val_dataloader(opt, quiet)


def test_the_warning_about_meshgrid_is_quiet():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        compat._quiet_meshgrid()
        warnings.warn("torch.meshgrid: in an upcoming release, it will be required to pass ...", stacklevel=1)
        warnings.warn("another", stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["another"]


class TestBasicVSRPlusPlus:
    @pytest.fixture
    def network(self):
        return BasicVSRPlusPlus(mid_channels=8, num_blocks=1, cpu_cache_length=1, max_residue_magnitude=7)

    def test_is_whole_without_cuda(self):
        network = BasicVSRPlusPlus()
        assert sum(p.numel() for p in network.parameters()) == 7_322_927
        assert network.is_with_alignment

    def test_keeps_its_arguments(self, network):
        assert network.deform_align["backward_1"].max_residue_magnitude == 7
        assert network.deform_align["forward_2"].conv_offset[-1].out_channels == 27 * 16

    def test_a_mirrored_clip_leaves_no_trace(self, network):
        clip = torch.rand(1, 2, 3, 4, 4)
        network.check_if_mirror_extended(torch.cat([clip, clip.flip(1)], dim=1))
        assert network.is_mirror_extended
        network.check_if_mirror_extended(clip)
        assert not network.is_mirror_extended

    @pytest.mark.slow
    def test_aligns_clips_longer_than_the_cache_on_a_cpu(self, network):
        output = network(torch.rand(1, 2, 3, 64, 64))
        assert output.shape == (1, 2, 3, 256, 256)
        assert network.cpu_cache_length == 1
        output.mean().backward()
        assert network.deform_align["forward_1"].weight.grad.abs().sum() > 0

    def test_half_precision_on_a_cpu(self, network):
        lq = torch.rand(1, 3, 3, 64, 64)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            half = network.cpu()(lq)
        with torch.no_grad():
            torch.testing.assert_close(half.float(), network(lq), atol=0.05, rtol=0)


def test_the_last_line_of_a_training_foretells_no_time(caplog):
    from basicsr.utils.logger import MessageLogger

    options = {"name": "trial", "logger": {"print_freq": 1, "use_tb_logger": False}, "train": {"total_iter": 20}}
    logger = MessageLogger(options, start_iter=0)
    logger.start_time -= 1000
    logger.logger.propagate = True
    with caplog.at_level("INFO"):
        logger({"epoch": 0, "iter": 20, "lrs": [1e-3], "time": 1.0, "data_time": 0.0})
    assert "[eta: 0:00:00," in caplog.text


@pytest.mark.parametrize("module", ["arch_util", "spynet_arch", "basicvsrpp_arch"])
def test_flow_warp_makes_its_grid_where_the_feature_is(module):
    devices = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            devices.append((function.overloadpacket, result.device.type))
            return result

    flow_warp = importlib.import_module(f"basicsr.archs.{module}").flow_warp
    feature, flow = torch.empty(1, 2, 3, 4, device="meta"), torch.empty(1, 3, 4, 2, device="meta")
    with Watch():
        assert flow_warp(feature, flow).shape == feature.shape
    assert torch.ops.aten.arange in {function for function, _ in devices}
    assert {device for _, device in devices} == {"meta"}
