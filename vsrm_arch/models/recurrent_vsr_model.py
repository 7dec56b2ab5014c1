"""The model that BasicSR's pipelines drive: one training iteration, validation, saving and resuming."""

import copy
import logging
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import compress
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from basicsr.archs import build_network
from basicsr.data import build_dataloader, build_dataset
from basicsr.losses import build_loss
from basicsr.models.base_model import BaseModel
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from vsrm_arch import config
from vsrm_arch.errors import UserError
from vsrm_arch.files import remove_partial_files
from vsrm_arch.inference import super_resolve, with_mirror
from vsrm_arch.models import checkpoints
from vsrm_arch.models.determinism import explained, use_deterministic_algorithms
from vsrm_arch.models.devices import choose_device, patient_group
from vsrm_arch.models.divergence import stop_if_not_finite
from vsrm_arch.models.optimization import LearningRates, build_optimizer, flow_parameters, load_moments
from vsrm_arch.models.options import LoggerOptions, RecurrentVSROptions, TrainOptions, ValOptions
from vsrm_arch.models.random_states import random_states, restore_random_states
from vsrm_arch.models.recipe import write_recipe
from vsrm_arch.models.results import Best, Results, better, knows, read_best
from vsrm_arch.models.validation import Validation
from vsrm_arch.precision import autocast
from vsrm_arch.sizes import size_requirements
from vsrm_arch.weights import load_weights, network_metadata

__all__ = ["RecurrentVSRModel"]

_logger = logging.getLogger("basicsr.vsrm_arch")


@MODEL_REGISTRY.register()
class RecurrentVSRModel(BaseModel):
    """Trains and validates networks that enlarge whole clips, ``(B, T, 3, H, W)`` → ``(B, T, 3, sH, sW)``.

    It runs on CUDA devices and on the CPU, alone or distributed (nccl, gloo). BasicSR's pipelines build it from the
    option file and call, for every iteration, :meth:`update_learning_rate`, :meth:`feed_data` and
    :meth:`optimize_parameters`; and :meth:`save` and :meth:`validation` when they are due.

    Args:
        opt: All options, as BasicSR's parser hands them out; not modified.

    Raises:
        UserError: If options, devices or network files do not fit.
    """

    Options: ClassVar[type] = RecurrentVSROptions

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.device = choose_device(opt)
        if opt.get("deterministic", False):
            use_deterministic_algorithms()
        self.val_options = config.parse(ValOptions, opt.get("val") or {}, "val")
        # Iterations that the weights have seen.
        self.iteration = 0
        self.best_metric_results: dict[str, Best] = {}
        self._patient_group = patient_group() if opt["dist"] else None
        self._validated: WeakKeyDictionary[Any, int | str] = WeakKeyDictionary()

        self.net_g_ema: nn.Module | None = None
        self.net_g: nn.Module = build_network(opt["network_g"]).to(self.device)
        self.print_network(self.net_g)
        if self.is_train:
            self._init_training()
        self._load_networks()
        if self.is_train:
            self._wrap()
        self._validation = self._build_validation()

    # ------------------------------------------------------------------------------------------------------- set-up

    def _init_training(self) -> None:
        self.train_options = config.parse(TrainOptions, self.opt["train"], "train")
        self.logger_options = config.parse(LoggerOptions, self.opt.get("logger") or {}, "logger")
        options = self.train_options
        self.net_g.train()
        if options.ema_decay:
            self.net_g_ema = copy.deepcopy(self.net_g).eval().requires_grad_(False)
        sections = {"l_pix": options.pixel_opt, "l_freq": options.frequency_opt}
        self.losses = {name: build_loss(section).to(self.device) for name, section in sections.items() if section}
        if options.fix_flow >= options.total_iter:
            for parameter in flow_parameters(self.net_g):
                parameter.requires_grad_(False)
        self.optimizer_g = build_optimizer(self.net_g, options.optim_g, options.flow_lr_mul)
        self.optimizers.append(self.optimizer_g)
        self.learning_rates = LearningRates(self.optimizer_g, options)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.amp == "fp16")
        if self.opt["rank"] == 0:
            remove_partial_files(Path(self.opt["path"][name]) for name in ("models", "training_states"))

    def _load_networks(self) -> None:
        paths = self.opt["path"]
        path = paths.get("pretrain_network_g")
        if path is None:
            return
        strict, key = paths.get("strict_load_g", True), paths.get("param_key_g", "auto")
        fallback, what = None, "path.resume_state" if "resumed" in self.opt else "path.pretrain_network_g"
        if key == "auto":
            # Not every file holds a moving average.
            key, fallback = ("params", None) if self.is_train else ("params_ema", "params")
        load_weights(self.net_g, path, key, strict, fallback, what)
        if self.net_g_ema is not None:
            load_weights(self.net_g_ema, path, "params_ema" if key else None, strict, key, what)

    def _wrap(self) -> None:
        """Compiles the network in place, which keeps its parameters' names, and makes it distributed."""
        if self.train_options.compile:
            self.net_g.compile()
        if self.opt["dist"]:
            # Convolutions of channel-last features hand out channel-last gradients; copying them costs little.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
            self.net_g = DistributedDataParallel(
                self.net_g,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                find_unused_parameters=self.opt.get("find_unused_parameters", False),
            )
            # Each rank draws its own weights: DistributedDataParallel gives all of them rank 0's, but of net_g alone.
            for value in self.net_g_ema.state_dict().values() if self.net_g_ema is not None else ():
                torch.distributed.broadcast(value, src=0)

    def _build_validation(self) -> Validation:
        scale = self.opt["scale"]
        bicubic = build_network({"type": "Bicubic", "scale": scale})
        return Validation(
            self.val_options,
            scale,
            self.enlarge,
            lambda lq: super_resolve(bicubic, lq, scale=scale),
            Path(self.opt["path"]["visualization"]),
            self._patient_group,
        )

    @master_only
    def print_network(self, net: nn.Module) -> None:
        """Logs a network's name and size; the stock method logs every layer."""
        parameters = sum(parameter.numel() for parameter in net.parameters())
        _logger.info("Network: %s, with parameters: %s", type(net).__name__, f"{parameters:,d}")

    # ----------------------------------------------------------------------------------------------------- training

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Sets the learning rates of an iteration; the warm-up is the one of the options."""
        self.learning_rates.update(current_iter)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Takes a batch: ``lq`` (B, T, 3, h, w), ``gt`` (B, T, 3, H, W) and the clips' names, ``key``."""
        self.lq: Tensor = data["lq"].to(self.device, non_blocking=True)
        self.gt: Tensor = data["gt"].to(self.device, non_blocking=True)
        self.keys: list[str] = [str(key) for key in data.get("key") or data.get("folder") or ()]

    def optimize_parameters(self, current_iter: int) -> None:
        """One training iteration on the batch.

        Raises:
            UserError: If a loss or the gradient is not finite; on every rank, before the weights change.
        """
        self.optimizer_g.zero_grad()
        with explained():
            losses = self._backward()
        self.learning_rates.drop_frozen_gradients(current_iter)
        self.scaler.unscale_(self.optimizer_g)
        trained = self.learning_rates.trained_parameters(current_iter)
        clip = self.train_options.grad_clip
        norm = nn.utils.clip_grad_norm_(trained, float("inf") if clip is None else clip)
        self.log_dict = self._mean_over_ranks(losses | {"grad_norm": norm})
        stop_if_not_finite(self.log_dict, losses, self.keys, current_iter, self.scaler)
        self.scaler.step(self.optimizer_g)
        self.scaler.update()
        if self.net_g_ema is not None:
            self.model_ema(self.train_options.ema_decay)
        self.iteration = current_iter

    def _backward(self) -> dict[str, Tensor]:
        """Adds up the gradients of the batch, part by part; returns the mean losses of this rank."""
        means = {name: torch.zeros((), device=self.device) for name in self.losses}
        count = self.train_options.accumulate
        parts = list(zip(self.lq.chunk(count), self.gt.chunk(count), strict=True))
        for i, (lq, gt) in enumerate(parts):
            share = len(lq) / len(self.lq)
            with self._gradients_averaged(over_ranks=i + 1 == len(parts)):
                with autocast(self.device, self.train_options.amp):
                    output = self.net_g(lq)
                if output.shape[1] == 1:
                    # What enlarges one frame of a window is trained on that.
                    gt = gt[:, gt.shape[1] // 2].unsqueeze(1)
                if output.shape != gt.shape:
                    raise UserError(
                        f"network_g: the output is {tuple(output.shape)}, the ground truth {tuple(gt.shape)}; scale, "
                        "network_g.scale and the training set must agree"
                    )
                losses = {name: loss(output.float(), gt) * share for name, loss in self.losses.items()}
                self.scaler.scale(torch.stack(list(losses.values())).sum()).backward()
            for name, loss in losses.items():
                means[name] += loss.detach()
        return means

    def _gradients_averaged(self, over_ranks: bool) -> AbstractContextManager[None]:
        if isinstance(self.net_g, DistributedDataParallel) and not over_ranks:
            return self.net_g.no_sync()
        return nullcontext()

    def _mean_over_ranks(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Plain numbers, the same on every rank; the one place of an iteration that waits for the device."""
        stacked = torch.stack([value.detach().float() for value in values.values()])
        if self.opt["dist"]:
            torch.distributed.all_reduce(stacked)
            stacked /= self.opt["world_size"]
        return dict(zip(values, stacked.tolist(), strict=True))

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999) -> None:
        """Moves the averaged weights towards the trained ones; buffers are copied."""
        assert self.net_g_ema is not None
        network = self.get_bare_model(self.net_g)
        averaged: list[Tensor] = list(self.net_g_ema.parameters())
        trained: list[Tensor] = list(network.parameters())
        # One kernel for many tensors; a loop over the parameters costs milliseconds on a GPU.
        torch._foreach_lerp_(averaged, trained, 1 - decay)
        for average, buffer in zip(self.net_g_ema.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)

    # --------------------------------------------------------------------------------------------------- validation

    def enlarge(self, lq: Tensor) -> Tensor:
        """Runs the averaged weights, or the trained ones where none are averaged, as ``val`` says.

        Args:
            lq: ``(B, T, 3, h, w)``, RGB in [0, 1].

        Returns:
            ``(B, T, 3, scale·h, scale·w)`` on the CPU.
        """
        options = self.val_options
        network = self.get_bare_model(self.net_g) if self.net_g_ema is None else self.net_g_ema
        window, tile = options.window, options.tile
        training = network.training
        network.eval()
        with autocast(self.device, options.amp), self._uncompiled():
            output = super_resolve(
                with_mirror(network) if options.flip_seq else network,
                lq,
                scale=self.opt["scale"],
                window=window.num_frame if window else None,
                window_overlap=window.overlap if window else 0,
                tile=tile.size if tile else None,
                tile_overlap=tile.overlap if tile else 0,
                requirements=size_requirements(network),
                device=self.device,
            )
        network.train(training)
        return output

    def _uncompiled(self) -> AbstractContextManager[Any]:
        """Every size of clip would be compiled anew."""
        compiled = self.is_train and self.train_options.compile
        return torch.compiler.set_stance("force_eager") if compiled else nullcontext()

    def validation(
        self, dataloader: DataLoader[Any], current_iter: int | str, tb_logger: Any, save_img: bool = False
    ) -> None:
        """Validates one set: scores, pictures, log, results file, best weights.

        The validation that BasicSR's pipeline runs after the last iteration belongs to that iteration; it is left out
        where the same weights have just been validated.

        Args:
            dataloader: Its dataset is read directly.
            current_iter: The iteration, or in a test the experiment's name.
            tb_logger: TensorBoard's writer, or None.
            save_img: Whether to save the enlarged frames.
        """
        dataset: Any = dataloader.dataset
        iteration = self.iteration if self.is_train else current_iter
        if self._validated.get(dataset) == iteration:
            _logger.info("Validation %s: these weights have just been validated.", dataset.opt["name"])
            return
        suffix = self.val_options.suffix or str(iteration)
        scores = self._validation.run(dataset, suffix, save_img)
        self._validated[dataset] = iteration
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.opt["rank"] == 0:
            self._report(Results.of(dataset.opt["name"], scores), iteration, tb_logger)
            if not self.is_train:
                write_recipe(self._validation.folder / dataset.opt["name"], self.opt, dataset.opt["name"])

    def _report(self, results: Results, iteration: int | str, tb_logger: Any) -> None:
        if not results.clips:
            _logger.info("Validation %s: no ground truth or no val.metrics, so no scores.", results.dataset)
            return
        path = self._validation.folder / results.dataset / "metrics.json"
        best: Best = {}
        if isinstance(iteration, int):
            records = results.records(self.val_options.metrics or {}, iteration)
            best = better(self.best_metric_results.get(results.dataset, {}), records)
            self.best_metric_results[results.dataset] = best
            if results.dataset == self._first_set() and best[next(iter(records))]["iter"] == iteration:
                self._save_network("best")
            if tb_logger:
                results.log_to_tensorboard(tb_logger, iteration)
        results.write(path, iteration, best)
        _logger.info("%s", results.text(best))

    def _first_set(self) -> str | None:
        """The set whose first metric decides which weights are the best."""
        names = [section["name"] for key, section in self.opt["datasets"].items() if key.startswith("val")]
        return names[0] if names else None

    # -------------------------------------------------------------------------------------------------- checkpoints

    def save(self, epoch: int, current_iter: int) -> None:
        """Saves the network, then the training state; called on every rank.

        Args:
            epoch: The epoch.
            current_iter: The iteration; -1 at the end of the training, which saves the network alone, as "latest".

        Raises:
            UserError: If a file cannot be written; earlier checkpoints are intact.
        """
        if current_iter == -1:
            self._save_network("latest")
            return
        states = self._random_states_of_all_ranks()
        self._save_network(current_iter)
        self._save_state(epoch, current_iter, states)

    @master_only
    def _save_network(self, name: int | str) -> None:
        networks = {"params": self.get_bare_model(self.net_g), "params_ema": self.net_g_ema}
        content: dict[str, Any] = {
            key: {name: value.cpu() for name, value in network.state_dict().items()}
            for key, network in networks.items()
            if network is not None
        }
        content["metadata"] = network_metadata(self.opt["network_g"], self.opt["scale"], self.iteration)
        checkpoints.write(checkpoints.network_path(self.opt["path"]["models"], name), content)

    @master_only
    def _save_state(self, epoch: int, iteration: int, states: list[dict[str, Any]]) -> None:
        content = {
            "epoch": epoch,
            "iter": iteration,
            "optimizers": [self.optimizer_g.state_dict()],
            "schedulers": [self.learning_rates.state_dict()],
            "scaler": self.scaler.state_dict(),
            "random_states": states,
            "best_metrics": self.best_metric_results,
        }
        paths = self.opt["path"]
        checkpoints.write(checkpoints.state_path(paths["training_states"], iteration), content)
        if self.logger_options.keep_checkpoints:
            keep = self.logger_options.keep_checkpoints
            checkpoints.remove_old_checkpoints(paths["models"], paths["training_states"], keep)

    def _random_states_of_all_ranks(self) -> list[dict[str, Any]]:
        if not self.opt["dist"]:
            return [random_states()]
        gathered: list[Any] = [None] * self.opt["world_size"]
        torch.distributed.all_gather_object(gathered, random_states(), group=self._patient_group)
        return gathered

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Takes up a training state; the network has been loaded already.

        Raises:
            UserError: If the state belongs to another network.
        """
        try:
            (optimizer,), (learning_rates,) = resume_state["optimizers"], resume_state["schedulers"]
            load_moments(self.optimizer_g, optimizer)
            self.learning_rates.load_state_dict(learning_rates)
        except (ValueError, KeyError) as error:
            raise UserError(
                f"path.resume_state: the state of iteration {resume_state['iter']} does not fit ({error}); resume with "
                "the network_g and train sections it was saved with, or start afresh from its network file"
            ) from error
        if self.scaler.is_enabled() and resume_state.get("scaler"):
            self.scaler.load_state_dict(resume_state["scaler"])
        self.best_metric_results = dict(resume_state.get("best_metrics", {}))
        # The validation of an iteration follows its checkpoint: the results files may know more than the state.
        for path in self._validation.folder.glob("*/metrics.json"):
            known = self.best_metric_results.get(path.parent.name, {})
            self.best_metric_results[path.parent.name] = better(known, read_best(path))
        self.iteration = resume_state["iter"]
        self._validate_what_is_owed()
        states = resume_state.get("random_states", [])
        if self.opt["rank"] < len(states):
            restore_random_states(states[self.opt["rank"]])

    def _validate_what_is_owed(self) -> None:
        """Validates the sets that the run before did not come to: its checkpoint was written first."""
        options = self.val_options
        if not options.metrics or options.val_freq is None or self.iteration % options.val_freq:
            return
        sections = [section for key, section in self.opt["datasets"].items() if key.startswith("val")]
        folder = self._validation.folder
        owed = [not knows(folder / section["name"] / "metrics.json", self.iteration) for section in sections]
        if self.opt["dist"]:
            torch.distributed.broadcast_object_list(owed, src=0, group=self._patient_group)
        for section in compress(sections, owed):
            loader = build_dataloader(build_dataset(section), section)
            self.validation(loader, self.iteration, None, self.opt["val"].get("save_img", False))
