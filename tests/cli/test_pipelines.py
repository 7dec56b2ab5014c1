"""``train`` and ``test``: BasicSR's stock pipelines, with stock classes on tiny images."""

import errno
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import yaml

from vsrm_arch import cli


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with pairs of images and an option file, from which commands are run."""
    rng = np.random.default_rng(0)
    for folder, side in (("gt", 64), ("lq", 16)):
        (tmp_path / folder).mkdir()
        for index in range(4):
            image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / folder / f"{index}.png"), image)
    pairs = {"name": "Pairs", "type": "PairedImageDataset", "dataroot_gt": "gt", "dataroot_lq": "lq"}
    pairs["io_backend"] = {"type": "disk"}
    loading = {"gt_size": 32, "use_hflip": True, "use_rot": True, "batch_size_per_gpu": 2, "num_worker_per_gpu": 1}
    options = {
        "name": "trial",
        "model_type": "SRModel",
        "scale": 4,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"train": pairs | loading, "val": pairs},
        "network_g": {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1},
        "path": {"resume_state": None, "pretrain_network_g": None},
        "train": {
            "total_iter": 4,
            "optim_g": {"type": "Adam", "lr": 1e-4},
            "scheduler": {"type": "MultiStepLR", "milestones": [2], "gamma": 0.5},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
        },
        "val": {
            "val_freq": 2,
            "save_img": True,
            "suffix": None,
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0}},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False},
    }
    (tmp_path / "options").mkdir()
    (tmp_path / "options" / "train_trial.yml").write_text(yaml.safe_dump(options))
    del options["datasets"]["train"]
    options["datasets"] = {"test": pairs}
    options["path"]["pretrain_network_g"] = "experiments/trial/models/net_g_latest.pth"
    (tmp_path / "options" / "test_trial.yml").write_text(yaml.safe_dump(options))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments, launcher=("-m",)):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "vsrm_arch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


TRAIN = ["train", "-opt", "options/train_trial.yml"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_train_resume_and_test(workplace):
    trained = run(*TRAIN)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.splitlines()[-1] == (
        "done: weights in experiments/trial/models, log in experiments/trial, "
        "pictures in experiments/trial/visualization"
    )
    experiment = workplace / "experiments" / "trial"
    assert (experiment / "models" / "net_g_4.pth").is_file()
    assert "# CMD" not in (experiment / "train_trial.yml").read_text()
    assert "vsrm_arch/__main__.py train -opt" in (experiment / "train_trial.yml").read_text()

    resumed = run(*TRAIN, "--auto_resume", "--force_yml", "train:total_iter=6")
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming training from epoch: 1, iter: 4." in resumed.stderr
    assert (experiment / "models" / "net_g_6.pth").is_file()

    tested = run("test", "-opt", "options/test_trial.yml")
    assert tested.returncode == 0, tested.stderr
    assert tested.stdout.splitlines()[-1] == "done: log and pictures in results/trial"
    assert "# psnr:" in tested.stderr
    assert len(list((workplace / "results" / "trial" / "visualization" / "Pairs").iterdir())) == 4


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun(workplace):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
    trained = run(*TRAIN, "--launcher", "pytorch", launcher=torchrun)
    assert trained.returncode == 0, trained.stderr
    assert "World size (gpu number): 2" in trained.stderr
    assert trained.stdout.count("done: ") == 1
    assert (workplace / "experiments" / "trial" / "models" / "net_g_latest.pth").is_file()


class TestErrors:
    def test_a_missing_option_file(self, workplace, capsys):
        assert cli.main(["train", "-opt", "options/train_trail.yml"]) == 1
        assert capsys.readouterr().err == (
            "error: options/train_trail.yml: no such option file; "
            "there is options/train_trial.yml, options/test_trial.yml\n"
        )

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--force_yml", "train:total_itr=1"], "unknown key 'total_itr' in train; did you mean 'total_iter'?"),
            (["--force_yml", "network_g:type=EDSRR"], "no network named 'EDSRR' is registered; did you mean 'EDSR'?"),
            (
                ["--force_yml", "network_g:num_feat=x"],
                "with --force_yml: network_g: EDSR cannot be built",
            ),
            (["--force_yml", "val:metrics:psnr:crop_border=x"], "val.metrics.psnr.crop_border: expected an integer"),
            (["--force_yml", "path:pretrain_network_g=no.pth"], "path.pretrain_network_g: no such file: no.pth"),
            (["--launcher", "pytorch"], "RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT not set; start the command with"),
        ],
    )
    def test_before_anything_is_made(self, workplace, capsys, monkeypatch, flags, message):
        for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
        assert cli.main([*TRAIN, *flags]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
        assert not (workplace / "experiments").exists()

    @pytest.mark.parametrize("lost", ["gt", "lq"])
    def test_a_start_without_its_data_leaves_the_old_experiment_alone(self, workplace, capsys, lost):
        weights = workplace / "experiments/trial/models/net_g_latest.pth"
        weights.parent.mkdir(parents=True)
        weights.write_text("precious")
        (workplace / lost).rename(workplace / "elsewhere")
        assert cli.main(TRAIN) == 1
        assert capsys.readouterr().err.endswith(f"error: {lost}: No such file or directory; check the path\n")
        assert weights.read_text() == "precious"
        assert [path.name for path in (workplace / "experiments").iterdir()] == ["trial"]

    @pytest.mark.parametrize(("command", "folder"), [("train", "experiments"), ("test", "results")])
    def test_a_folder_that_cannot_be_written(self, workplace, capsys, monkeypatch, command, folder):
        weights = workplace / "experiments/trial/models/net_g_latest.pth"
        if command == "test":
            weights.parent.mkdir(parents=True)
            weights.touch()

        def refuse(path, *_):
            raise PermissionError(errno.EACCES, "Permission denied", path)

        monkeypatch.setattr(os, "mkdir", refuse)
        assert cli.main([command, "-opt", f"options/{command}_trial.yml"]) == 1
        assert capsys.readouterr().err == (
            f"error: {workplace / folder}: Permission denied; mend its permissions or use another folder\n"
        )

    @pytest.mark.parametrize(
        ("states", "kept"),
        [
            ([], "no checkpoint had been saved yet"),
            (
                ["90.state", "1000.state"],
                "the newest checkpoint is experiments/trial/training_states/1000.state; --auto_resume goes on from it",
            ),
        ],
    )
    def test_interrupted(self, workplace, capsys, monkeypatch, states, kept):
        from basicsr import train

        def interrupted(root_path):
            train.parse_options(root_path)
            folder = workplace / "experiments" / "trial" / "training_states"
            folder.mkdir(parents=True)
            for name in states:
                (folder / name).touch()
            raise KeyboardInterrupt

        monkeypatch.setattr(train, "train_pipeline", interrupted)
        assert cli.main(TRAIN) == 130
        assert capsys.readouterr().err == f"interrupted: {kept}\n"

    def test_interrupted_at_once(self, workplace, capsys, monkeypatch):
        from basicsr import train

        def interrupted(root_path):
            raise KeyboardInterrupt

        monkeypatch.setattr(train, "train_pipeline", interrupted)
        assert cli.main(TRAIN) == 130
        assert capsys.readouterr().err == "interrupted\n"
