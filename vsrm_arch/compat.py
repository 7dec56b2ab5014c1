"""Every workaround for BasicSR 1.4.2, a function each, with the upstream fault it answers.

Importing this module applies them all; it is imported before anything else that touches BasicSR. BasicSR's files stay
as they are: what is replaced is replaced in the imported modules.
"""

import copy
import functools
import importlib
import importlib.util
import inspect
import logging
import os
import re
import shlex
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vsrm_arch.errors import UserError
from vsrm_arch.files import write_text

__all__: list[str] = []

logger = logging.getLogger("basicsr.vsrm_arch")


def _restore_functional_tensor() -> None:
    """``import basicsr`` fails on torchvision >= 0.17, which dropped ``transforms.functional_tensor``.

    BasicSR 1.4.2 takes one function from there; it lives in ``transforms.functional`` today.
    """
    from torchvision.transforms import functional

    name = "torchvision.transforms.functional_tensor"
    module = types.ModuleType(name)
    module.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules.setdefault(name, module)


def _restore_distutils() -> None:
    """``import basicsr`` fails on Python 3.12, which dropped ``distutils``, unless setuptools brings its own.

    BasicSR compares two version numbers with it.
    """
    if importlib.util.find_spec("distutils") is not None:
        return
    package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    module.LooseVersion = lambda text: [int(n) for n in re.findall(r"\d+", text)]  # type: ignore[attr-defined]
    package.version = module  # type: ignore[attr-defined]
    sys.modules |= {"distutils": package, "distutils.version": module}


def _load_weights_only() -> None:
    """``torch.load`` is called without ``weights_only``: a checkpoint can run any code.

    PyTorch >= 2.6 loads weights only by default, unless an environment variable says otherwise.
    """
    if os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None) is not None:
        logger.warning("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is ignored: checkpoints are read with weights only")


def _read_options_safely() -> None:
    """``parse_options`` builds Python objects from YAML, and runs ``--force_yml`` through ``exec`` and ``eval``."""
    import yaml

    from vsrm_arch.config import parse_options
    from vsrm_arch.config.yaml_file import OptionLoader

    def ordered_yaml() -> tuple[type, type]:
        return OptionLoader, yaml.SafeDumper

    _put(parse_options, "basicsr.utils.options", "basicsr.train", "basicsr.test", "basicsr")
    _put(ordered_yaml, "basicsr.utils.options")


def _start_processes_anywhere() -> None:
    """``init_dist`` fails on a CPU (nccl; ``rank % 0``), and takes the global rank for the number of the local GPU."""
    from vsrm_arch.distributed import init_dist

    _put(init_dist, "basicsr.utils.dist_util", "basicsr.utils.options")


def _resume_anywhere() -> None:
    """``load_resume_state`` needs CUDA, unpickles anything, and stops at a broken newest state."""

    def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
        from vsrm_arch.models import checkpoints

        return checkpoints.load_resume_state(opt)

    _put(load_resume_state, "basicsr.train", "basicsr")


def _seed_workers_anew() -> None:
    """``worker_init_fn`` seeds a worker alike in every epoch and after every resumption: crops and flips repeat."""
    from vsrm_arch.data.resuming import seed_worker

    importlib.import_module("basicsr.data").worker_init_fn = seed_worker  # type: ignore[attr-defined]


def _copy_option_file_whole() -> None:
    """``copy_opt_file`` fails if the file already lies in the experiment's folder, or that folder is not there yet.

    The first happens when the copy is trained from, the second when ``path: resume_state`` belongs to another
    experiment. It also writes the copy in place, in the locale's encoding.
    """
    from basicsr.utils.dist_util import master_only

    @master_only  # type: ignore[untyped-decorator, unused-ignore]
    def copy_opt_file(opt_file: str, experiments_root: str) -> None:
        source, folder = Path(opt_file).expanduser(), Path(experiments_root)
        copy = folder / source.name
        if copy.exists() and copy.samefile(source):
            return
        command = shlex.join(sys.argv).replace("\n", " ")
        header = f"# Copied on {time.asctime()}, when this was run:\n# {command}\n\n"
        write_text(copy, header + source.read_text(encoding="utf-8-sig"))

    _put(copy_opt_file, "basicsr.utils.options", "basicsr.train", "basicsr")


def _make_folders_in_time() -> None:
    """``make_exp_dirs``: two faults.

    It moves an old experiment aside before the data have been opened: a start that fails takes its weights away. And it
    lets the other processes go on meanwhile: what they write, pictures of a test for example, lands in the old one.
    """
    import torch.distributed as dist
    from basicsr.utils.registry import DATASET_REGISTRY

    def make_exp_dirs(original: Callable[[dict[str, Any]], None], opt: dict[str, Any]) -> None:
        for section in opt["datasets"].values():
            DATASET_REGISTRY.get(section["type"])(copy.deepcopy(section))
        original(opt)
        if dist.is_available() and dist.is_initialized():
            dist.barrier()

    for module in ("basicsr.utils.misc", "basicsr.utils", "basicsr.train", "basicsr.test", "basicsr"):
        _wrap(importlib.import_module(module), "make_exp_dirs", make_exp_dirs)


def _load_training_clips_once() -> None:
    """``create_train_val_dataloader``: two faults.

    A resumed run starts its epoch anew: interrupted often, a training sees the same first clips again and again. A
    training set smaller than one batch is dropped: the pipeline ends at once, having trained nothing.
    """
    from vsrm_arch.data.resuming import ResumableSampler

    def create(original: Callable[..., Any], opt: dict[str, Any], logger: logging.Logger) -> Any:
        result = original(opt, logger)
        loader, sampler = result[:2]
        if loader is not None and len(loader) == 0:
            raise UserError(
                f"datasets.train: {len(loader.dataset)} items in {opt['world_size']} processes do not fill one batch "
                f"of {loader.batch_size}; lower batch_size_per_gpu or raise dataset_enlarge_ratio"
            )
        if "resumed" in opt:
            epoch, iteration = opt["resumed"]["epoch"], opt["resumed"]["iter"]
            sampler.skip(epoch, (iteration - epoch * len(loader)) * loader.batch_size)
        return result

    train = importlib.import_module("basicsr.train")
    train.EnlargedSampler = ResumableSampler  # type: ignore[attr-defined]
    _wrap(train, "create_train_val_dataloader", create)


def _prefetch_anywhere() -> None:
    """The prefetchers: three faults.

    ``CPUPrefetcher`` starts all workers twice, once in vain, and with ``persistent_workers`` reads from both at a time;
    an exception in the thread of ``prefetch_mode: cpu`` leaves the training waiting for ever; ``prefetch_mode: cuda``
    fails where there is no CUDA.
    """
    import torch
    from basicsr.data import prefetch_dataloader as module

    def remember(original: Callable[..., None], self: Any, loader: Any) -> None:
        # The pipeline calls reset(), which starts the workers, before it asks for the first batch.
        self.ori_loader = loader

    def run(original: Callable[..., None], self: Any) -> None:
        try:
            for item in self.generator:
                self.queue.put(item)
        except Exception as error:
            self.queue.put(error)
        else:
            self.queue.put(None)

    def following(original: Callable[..., Any], self: Any) -> Any:
        item = original(self)
        if isinstance(item, Exception):
            raise item
        return item

    def choose(original: Callable[..., Any], loader: Any, opt: dict[str, Any]) -> Any:
        if torch.cuda.is_available() and opt["num_gpu"] != 0:
            return original(loader, opt)
        return module.CPUPrefetcher(loader)

    _wrap(module.CPUPrefetcher, "__init__", remember)
    _wrap(module.PrefetchGenerator, "run", run)
    _wrap(module.PrefetchGenerator, "__next__", following)
    _wrap(importlib.import_module("basicsr.train"), "CUDAPrefetcher", choose)


def _distribute_models_anywhere() -> None:
    """``BaseModel.model_to_device`` asks for the current CUDA device: no model can be distributed on a CPU."""
    from basicsr.models.base_model import BaseModel
    from torch import nn

    def model_to_device(original: Callable[..., nn.Module], self: Any, net: nn.Module) -> nn.Module:
        if not (self.opt["dist"] and self.device.type == "cpu"):
            return original(self, net)
        unused = self.opt.get("find_unused_parameters", False)
        return nn.parallel.DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)

    _wrap(BaseModel, "model_to_device", model_to_device)


def _count_the_last_iteration() -> None:
    """``MessageLogger`` believes the training one iteration shorter: its last line foretells "-1 day, 23:59:59"."""
    from basicsr.utils.logger import MessageLogger

    def remember(original: Callable[..., None], self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.max_iters += 1  # serves this estimate only

    _wrap(MessageLogger, "__init__", remember)


def _quiet_meshgrid() -> None:
    """``flow_warp`` calls ``torch.meshgrid`` without ``indexing``: a warning at every start that no user can mend."""
    warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release", UserWarning)


def _warp_on_the_device() -> None:
    """``flow_warp`` makes its grid on the CPU and copies it to the GPU, which waits for it at every warp."""
    import torch
    from basicsr.archs import arch_util

    def flow_warp(original: Callable[..., torch.Tensor], x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        with torch.device(x.device):
            return original(x, *args, **kwargs)

    _wrap(arch_util, "flow_warp", flow_warp)
    networks = ("basicvsr_arch", "basicvsrpp_arch", "spynet_arch", "tof_arch")
    _put(arch_util.flow_warp, *(f"basicsr.archs.{network}" for network in networks))


def _deform_in_float32_on_a_cpu() -> None:
    """Torchvision's deformable convolution knows no half precision on a CPU, where autocast hands it some."""
    import torch
    from basicsr.archs.arch_util import DCNv2Pack
    from basicsr.archs.basicvsrpp_arch import SecondOrderDeformableAlignment

    def forward(original: Callable[..., torch.Tensor], self: Any, *tensors: torch.Tensor) -> torch.Tensor:
        if tensors[0].device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return original(self, *tensors)
        with torch.autocast("cpu", enabled=False):
            return original(self, *(tensor.float() for tensor in tensors))

    for module in (DCNv2Pack, SecondOrderDeformableAlignment):
        _wrap(module, "forward", forward)


def _align_basicvsrpp_anywhere() -> None:
    """BasicVSR++: three faults.

    Built where CUDA is absent, it leaves its deformable alignment out (5.28 M instead of 7.32 M parameters), though the
    operator it uses, torchvision's, runs on a CPU. After one clip that is its own mirror image it takes every clip for
    such a one, and computes wrong flows. For clips of more than ``cpu_cache_length`` frames it calls ``.cuda()``.
    """
    import torch
    from basicsr.archs.basicvsrpp_arch import BasicVSRPlusPlus, SecondOrderDeformableAlignment

    signature = inspect.signature(BasicVSRPlusPlus.__init__)

    def build(original: Callable[..., None], self: Any, *args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Deformable alignment module is not added")
            original(self, *args, **kwargs)
        if self.is_with_alignment:
            return
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        for branch in self.backbone:
            self.deform_align[branch] = SecondOrderDeformableAlignment(
                2 * self.mid_channels,
                self.mid_channels,
                3,
                padding=1,
                deformable_groups=16,
                max_residue_magnitude=given.arguments["max_residue_magnitude"],
            )
        self.is_with_alignment = True

    def check_if_mirror_extended(original: Callable[..., None], self: Any, lqs: torch.Tensor) -> None:
        self.is_mirror_extended = False
        original(self, lqs)

    def forward(original: Callable[..., torch.Tensor], self: Any, lqs: torch.Tensor) -> torch.Tensor:
        if lqs.is_cuda:
            return original(self, lqs)
        length, self.cpu_cache_length = self.cpu_cache_length, lqs.shape[1]
        try:
            return original(self, lqs)
        finally:
            self.cpu_cache_length = length

    _wrap(BasicVSRPlusPlus, "__init__", build)
    _wrap(BasicVSRPlusPlus, "check_if_mirror_extended", check_if_mirror_extended)
    _wrap(BasicVSRPlusPlus, "forward", forward)


def _put(function: Callable[..., Any], *modules: str) -> None:
    """Puts a function in the place of BasicSR's function of its name, wherever that has been imported to."""
    for module in modules:
        setattr(importlib.import_module(module), function.__name__, function)


def _wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Puts ``wrapper``, which is handed the original first, in the place of an attribute; once only."""
    original = getattr(owner, name)
    if getattr(original, "_mended_by_vsrm_arch", False):
        return

    @functools.wraps(original)
    def mended(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    mended._mended_by_vsrm_arch = True  # type: ignore[attr-defined]
    setattr(owner, name, mended)


# The first two make BasicSR importable.
_restore_functional_tensor()
_restore_distutils()
_load_weights_only()
_read_options_safely()
_start_processes_anywhere()
_resume_anywhere()
_seed_workers_anew()
_copy_option_file_whole()
_make_folders_in_time()
_load_training_clips_once()
_prefetch_anywhere()
_distribute_models_anywhere()
_count_the_last_iteration()
_quiet_meshgrid()
_warp_on_the_device()
_deform_in_float32_on_a_cpu()
_align_basicvsrpp_anywhere()
