import errno
import logging
import random
import re
import resource
import signal

import numpy as np
import pytest
import tiny
import torch

from vsrm_arch import __version__
from vsrm_arch.errors import UserError
from vsrm_arch.models import checkpoints, load_resume_state
from vsrm_arch.models.random_states import random_states, restore_random_states


def train(model, first, last):
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
        model.feed_data(tiny.batch(0, 1))
        model.optimize_parameters(iteration)


def same(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.fixture
def experiment(build, tmp_path):
    """A training stopped at iteration 6, with checkpoints at 2, 4 and 6; returns the options of its resumption."""
    model = build()
    for iteration in (2, 4, 6):
        train(model, iteration - 1, iteration)
        model.save(0, iteration)

    def resumption(**path):
        opt = tiny.model_options(tmp_path)
        opt["auto_resume"] = not path
        opt["path"] |= path
        return opt

    resumption.model = model
    return resumption


class TestWrite:
    def test_full_disk(self, tmp_path):
        """A limit on the size of files stands for the full disk: the system refuses the write in the same way."""
        path = tmp_path / "a.pth"
        path.write_bytes(b"old")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(UserError, match=r"cannot write .*a.pth: File too large; .* intact: mend that, then"):
                checkpoints.write(path, {"params": {"a": torch.zeros(100_000)}})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_missing_folder(self, tmp_path):
        with pytest.raises(UserError, match=r"cannot write .*: No such file or directory; .* intact: check the path,"):
            checkpoints.write(tmp_path / "nowhere" / "a.pth", {})

    def test_a_folder_that_is_read_only(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("pathlib.Path.open", refuse)
        with pytest.raises(UserError, match=r"^cannot write .*a.pth: Permission denied; .* mend its permissions"):
            checkpoints.write(tmp_path / "a.pth", {})


def test_random_states_are_restored():
    def draw():
        return random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()

    draw()
    states = random_states()
    first = draw()
    restore_random_states(states)
    assert draw() == first


class TestNetworkFile:
    def test_holds_both_weights_and_what_they_belong_to(self, experiment, tmp_path):
        path = tmp_path / "experiments/tiny/models/net_g_6.pth"
        content = torch.load(path, weights_only=True)
        assert content["metadata"] == {
            "package": f"vsrm_arch {__version__}",
            "network": {"type": "TinyVSR", "scale": 2, "channels": 4, "with_flow": False, "spynet_path": None},
            "scale": 2,
            "iteration": 6,
        }
        for key, network in (("params", experiment.model.net_g), ("params_ema", experiment.model.net_g_ema)):
            assert all(torch.equal(content[key][name], value) for name, value in network.state_dict().items())

    def test_stock_basicsr_loads_it(self, experiment, tmp_path):
        from basicsr.models.base_model import BaseModel

        network, path = tiny.TinyVSR(), tmp_path / "experiments/tiny/models/net_g_6.pth"
        BaseModel({"num_gpu": 0, "is_train": False}).load_network(network, str(path), True, "params_ema")
        assert same(experiment.model.net_g_ema, network)

    @pytest.mark.parametrize(
        ("is_train", "key", "expected"),
        [
            (False, "auto", "net_g_ema"),
            (False, "params", "net_g"),
            (True, "auto", "net_g"),
            (True, "params_ema", "net_g_ema"),
        ],
    )
    def test_which_weights_are_loaded(self, build, experiment, tmp_path, is_train, key, expected):
        path = {"pretrain_network_g": f"{tmp_path}/experiments/tiny/models/net_g_6.pth", "param_key_g": key}
        model = build(is_train, path=path)
        assert same(getattr(experiment.model, expected), model.net_g)
        if is_train:
            assert same(experiment.model.net_g_ema, model.net_g_ema)

    def test_bare_and_prefixed_weights(self, build, tmp_path):
        source = tiny.TinyVSR()
        weights = {f"module.{name}": value for name, value in source.state_dict().items()}
        torch.save(weights, tmp_path / "bare.pth")
        path = {"pretrain_network_g": str(tmp_path / "bare.pth"), "param_key_g": None}
        model = build(path=path)
        assert same(source, model.net_g)
        assert same(source, model.net_g_ema)

    @pytest.mark.parametrize("is_train", [True, False])
    def test_a_file_without_averaged_weights(self, build, tmp_path, is_train):
        source = tiny.TinyVSR()
        torch.save({"params": source.state_dict()}, tmp_path / "params.pth")
        model = build(is_train, path={"pretrain_network_g": str(tmp_path / "params.pth")})
        assert same(source, model.net_g)
        assert model.net_g_ema is None or same(source, model.net_g_ema)

    def test_averaged_weights_start_from_the_key_given(self, build, tmp_path):
        source, other = tiny.TinyVSR(), tiny.TinyVSR()
        torch.save({"params": other.state_dict(), "mine": source.state_dict()}, tmp_path / "mine.pth")
        model = build(path={"pretrain_network_g": str(tmp_path / "mine.pth"), "param_key_g": "mine"})
        assert same(source, model.net_g)
        assert same(source, model.net_g_ema)

    @pytest.mark.parametrize("is_train", [True, False])
    @pytest.mark.parametrize("key", ["params_eam", "params_ema"])
    def test_no_other_weights_are_taken_than_those_asked_for(self, build, tmp_path, is_train, key):
        path = tmp_path / "net.pth"
        torch.save({"params": tiny.TinyVSR().state_dict(), "metadata": {}}, path)
        message = f"path.param_key_g: {path} has no {key}; it has params, metadata: set param_key_g to one of them"
        with pytest.raises(UserError, match=re.escape(message)):
            build(is_train, path={"pretrain_network_g": str(path), "param_key_g": key})

    def test_what_fits_is_loaded(self, build, tmp_path, caplog):
        source = tiny.TinyVSR(channels=5)
        torch.save({"params": source.state_dict()}, tmp_path / "other.pth")
        model = build(path={"pretrain_network_g": str(tmp_path / "other.pth"), "strict_load_g": False})
        assert torch.equal(model.net_g.last.bias, source.last.bias)
        assert model.net_g.first.bias.shape == (4,)


def test_a_file_that_cannot_be_loaded(build, tmp_path):
    """tests/test_weights.py has every kind of bad file."""
    with pytest.raises(UserError, match=re.escape(f"path.pretrain_network_g: cannot read {tmp_path / 'net.pth'}: No")):
        build(path={"pretrain_network_g": str(tmp_path / "net.pth")})


class TestResume:
    def test_everything_is_taken_up(self, experiment, tmp_path):
        opt = experiment()
        state = load_resume_state(opt)
        assert (state["epoch"], state["iter"]) == (0, 6)
        resumed, original = type(experiment.model)(opt), experiment.model
        resumed.resume_training(state)
        assert resumed.iteration == 6
        assert same(original.net_g, resumed.net_g)
        assert same(original.net_g_ema, resumed.net_g_ema)
        for model in (original, resumed):
            train(model, 7, 8)
        assert same(original.net_g, resumed.net_g)
        assert same(original.net_g_ema, resumed.net_g_ema)
        assert original.get_current_learning_rate() == resumed.get_current_learning_rate()

    def test_scaler_and_best_metrics_are_taken_up(self, build, tmp_path):
        model = build(train={"amp": "fp16"})
        train(model, 1, 2)
        model.scaler.load_state_dict(model.scaler.state_dict() | {"scale": 32.0})
        best = {"psnr": {"better": "higher", "val": 30.0, "iter": 2}}
        model.best_metric_results["val"] = best
        model.save(0, 2)
        opt = tiny.model_options(tmp_path) | {"auto_resume": True}
        opt["train"]["amp"] = "fp16"
        state = load_resume_state(opt)
        resumed = type(model)(opt)
        resumed.resume_training(state)
        assert resumed.scaler.get_scale() == 32.0
        assert resumed.best_metric_results == {"val": best}

    def test_random_states_are_those_of_the_checkpoint(self, experiment):
        opt = experiment()
        state = load_resume_state(opt)
        model = type(experiment.model)(opt)
        model.resume_training(state)
        first = torch.rand(1), random.random()
        torch.rand(3)
        model.resume_training(state)
        assert (torch.rand(1), random.random()) == first

    def test_nothing_to_resume(self, tmp_path, caplog):
        assert load_resume_state(tiny.model_options(tmp_path)) is None
        assert not caplog.messages
        assert load_resume_state(tiny.model_options(tmp_path) | {"auto_resume": True}) is None
        folder = tmp_path / "experiments/tiny"
        assert caplog.messages == [f"--auto_resume: {folder} holds no training state: starting afresh"]

    def test_nothing_to_resume_but_an_experiment_moved_aside(self, tmp_path, caplog):
        archived = tmp_path / "experiments/tiny_archived_20260101_000000"
        archived.mkdir(parents=True)
        load_resume_state(tiny.model_options(tmp_path) | {"auto_resume": True})
        assert caplog.messages[0].endswith(f": starting afresh; to go on with {archived}, move it back first")

    def test_named_state(self, experiment, tmp_path):
        opt = experiment(resume_state=str(tmp_path / "experiments/tiny/training_states/4.state"))
        assert load_resume_state(opt)["iter"] == 4
        assert opt["path"]["pretrain_network_g"] == str(tmp_path / "experiments/tiny/models/net_g_4.pth")

    def test_state_of_another_experiment(self, experiment, tmp_path):
        opt = experiment(resume_state=str(tmp_path / "experiments/tiny/training_states/4.state"))
        for name in ("experiments_root", "models", "training_states", "visualization"):
            opt["path"][name] = opt["path"][name].replace("tiny", "other")
        assert load_resume_state(opt)["iter"] == 4
        assert opt["path"]["pretrain_network_g"] == str(tmp_path / "experiments/tiny/models/net_g_4.pth")
        assert (tmp_path / "experiments/other/training_states").is_dir()

    @pytest.mark.parametrize("broken", ["state", "network", "no network", "other content"])
    def test_newest_readable_checkpoint_is_taken(self, experiment, tmp_path, broken):
        folder = tmp_path / "experiments/tiny"
        state, network = folder / "training_states/6.state", folder / "models/net_g_6.pth"
        if broken == "no network":
            network.unlink()
        elif broken == "other content":
            torch.save({"iter": 6}, state)
        else:
            path = state if broken == "state" else network
            path.write_bytes(path.read_bytes()[:-100])
        (folder / "training_states/.8.state.partial").write_bytes(b"half")
        (folder / "training_states/8.state.bak").write_bytes(b"")
        opt, texts = experiment(), []
        handler = logging.Handler()
        handler.emit = lambda record: texts.append(record.getMessage())
        logging.getLogger("basicsr.vsrm_arch").addHandler(handler)
        try:
            assert load_resume_state(opt)["iter"] == 4
        finally:
            logging.getLogger("basicsr.vsrm_arch").removeHandler(handler)
        assert opt["path"]["pretrain_network_g"] == str(folder / "models/net_g_4.pth")
        ((text),) = texts
        assert text.startswith("Skipping the checkpoint of iteration 6: ")
        assert str(network if "network" in broken else state) in text
        type(experiment.model)(opt)
        assert not (folder / "training_states/.8.state.partial").exists()

    def test_no_readable_checkpoint(self, experiment, tmp_path):
        for path in (tmp_path / "experiments/tiny/training_states").iterdir():
            path.write_bytes(b"")
        with pytest.raises(
            UserError, match=r"--auto_resume: none of the 3 checkpoints in .* can be read; start afresh"
        ):
            load_resume_state(experiment())

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nowhere.state", "path.resume_state: cannot read {path}: No such file"),
            ("broken.state", "path.resume_state: {path} is no checkpoint, or a damaged one"),
            ("other.state", "path.resume_state: {path} is no training state: it has no epoch"),
            ("lonely.state", "path.resume_state: {path} has no network file"),
        ],
    )
    def test_bad_states(self, experiment, tmp_path, name, message):
        (tmp_path / "broken.state").write_bytes(b"half")
        torch.save({"params": {}}, tmp_path / "other.state")
        torch.save({"epoch": 0, "iter": 3, "optimizers": [], "schedulers": []}, tmp_path / "lonely.state")
        path = tmp_path / name
        with pytest.raises(UserError, match=re.escape(message.format(path=path))):
            load_resume_state(experiment(resume_state=str(path)))

    def test_state_of_another_network(self, experiment):
        opt = experiment()
        state = load_resume_state(opt)
        opt["path"]["pretrain_network_g"] = None
        opt["network_g"] = {"type": "TinyVSR", "scale": 2, "with_flow": True}
        with pytest.raises(UserError, match=r"path.resume_state: the state of iteration 6 does not fit .*network_g"):
            type(experiment.model)(opt).resume_training(state)


def test_old_checkpoints_are_removed(build, tmp_path):
    model = build(logger={"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False, "keep_checkpoints": 2})
    model.save(-1, -1)
    for iteration in (1, 2, 10):
        model.save(0, iteration)
    folder = tmp_path / "experiments/tiny"
    assert {path.name for path in (folder / "training_states").iterdir()} == {"2.state", "10.state"}
    assert {path.name for path in (folder / "models").iterdir()} == {"net_g_latest.pth", "net_g_2.pth", "net_g_10.pth"}
