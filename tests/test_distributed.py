"""Process groups: what the launchers' environments are read as, and the messages where they are wrong."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from vsrm_arch import distributed
from vsrm_arch.errors import UserError

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1", "LOCAL_RANK": "1"}
SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NODELIST": "gpu[003-004]"}


@pytest.fixture
def environment(monkeypatch):
    """Sets the variables given, and none else of a launcher's."""
    names = {*TORCHRUN, *SLURM, "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_TASKS_PER_NODE"}

    def set_variables(**variables):
        for name in names | {"SLURM_STEP_TASKS_PER_NODE"}:
            # setenv first: monkeypatch then also takes back what the code under test sets.
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    set_variables()
    return set_variables


@pytest.fixture
def joined(monkeypatch):
    """Records the call that joins a process group, in place of it."""
    calls = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *args, **kwargs: calls.append((args, kwargs)))
    monkeypatch.setattr(torch.multiprocessing, "get_start_method", lambda allow_none: "fork")
    return calls


@pytest.fixture
def gpus(monkeypatch):
    """Pretends to have so many GPUs; the list holds the devices chosen."""
    chosen = []

    def pretend(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
        return chosen

    return pretend


class TestInitDist:
    def test_gloo_without_cuda(self, environment, joined, gpus):
        environment(**TORCHRUN)
        assert gpus(0) == []
        distributed.init_dist("pytorch")
        assert joined == [(("gloo",), {"device_id": None})]

    def test_the_local_rank_is_the_device(self, environment, joined, gpus):
        environment(**(TORCHRUN | {"RANK": "9", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "6"}))
        chosen = gpus(6)
        distributed.init_dist("pytorch")
        assert joined == [(("nccl",), {"device_id": torch.device("cuda", 3)})]
        assert chosen == [3]

    def test_gloo_may_share_a_gpu(self, environment, joined, gpus):
        environment(**(TORCHRUN | {"LOCAL_WORLD_SIZE": "2"}))
        chosen = gpus(1)
        distributed.init_dist("pytorch", backend="gloo")
        assert joined == [(("gloo",), {"device_id": None})]
        assert chosen == [0]

    @pytest.mark.parametrize("count", [1, 2])
    def test_refuses_more_processes_than_gpus(self, environment, joined, gpus, count):
        environment(**(TORCHRUN | {"LOCAL_WORLD_SIZE": "4"}))
        gpus(count)
        with pytest.raises(UserError, match=f"4 processes for {count} GPUs: start at most one process per GPU"):
            distributed.init_dist("pytorch")
        assert joined == []

    @pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
    def test_refuses_a_process_without_torchrun(self, environment, missing):
        environment(**{name: value for name, value in TORCHRUN.items() if name != missing})
        with pytest.raises(UserError, match=f"--launcher pytorch: {missing} not set; start the command with torchrun"):
            distributed.init_dist("pytorch")

    def test_refuses_a_variable_that_is_no_number(self, environment):
        environment(**(TORCHRUN | {"RANK": "first"}))
        with pytest.raises(UserError, match="variable RANK is 'first'; the launcher should set it to a number"):
            distributed.init_dist("pytorch")

    def test_refuses_an_unknown_launcher(self):
        with pytest.raises(UserError, match="--launcher mpi: expected pytorch or slurm"):
            distributed.init_dist("mpi")

    def test_slurm(self, environment, joined, gpus):
        environment(**(SLURM | {"SLURM_STEP_TASKS_PER_NODE": "4(x2)"}))
        chosen = gpus(4)
        distributed.init_dist("slurm", port=1234)
        assert joined == [(("nccl",), {"device_id": torch.device("cuda", 1)})]
        assert chosen == [1]
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        assert [os.environ[name] for name in names] == ["5", "8", "1", "gpu003", "1234"]

    def test_slurm_shows_each_process_its_own_gpu(self, environment, joined, gpus):
        environment(**(SLURM | {"SLURM_STEP_TASKS_PER_NODE": "4(x2)"}))
        assert gpus(1) == []
        distributed.init_dist("slurm")
        assert joined[0][1] == {"device_id": torch.device("cuda", 0)}
        assert os.environ["MASTER_PORT"] == "29500"

    def test_slurm_asks_scontrol(self, environment, joined, gpus, tmp_path, monkeypatch):
        environment(**SLURM)
        gpus(0)
        script = tmp_path / "scontrol"
        script.write_text('#!/bin/sh\n[ "$1 $2 $3" = "show hostnames gpu[003-004]" ] && echo first && echo second\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        distributed.init_dist("slurm")
        assert os.environ["MASTER_ADDR"] == "first"

    @pytest.mark.parametrize(
        ("nodes", "first"),
        [
            ("node7", "node7"),
            ("node1,node2", "node1"),
            ("gpu[003-010,12],login1", "gpu003"),
            ("a-b[7,9]", "a-b7"),
            ("rack[1-2]-eth", "rack1-eth"),
        ],
    )
    def test_slurm_without_scontrol(self, monkeypatch, nodes, first):
        monkeypatch.setattr(distributed.shutil, "which", lambda name: None)
        assert distributed._first_host(nodes) == first

    def test_slurm_refuses_an_unreadable_node_list(self, monkeypatch):
        monkeypatch.setattr(distributed.shutil, "which", lambda name: None)
        with pytest.raises(UserError, match=r"cannot read the node list '\[3\]'; set MASTER_ADDR"):
            distributed._first_host("[3]")

    def test_refuses_a_process_without_srun(self, environment):
        with pytest.raises(UserError, match=r"SLURM_PROCID, SLURM_NTASKS, SLURM_NODELIST not set; .* with srun"):
            distributed.init_dist("slurm")

    def test_a_port_in_use(self, environment, gpus, monkeypatch):
        monkeypatch.setattr(torch.multiprocessing, "get_start_method", lambda allow_none: "fork")
        gpus(0)
        with socket.socket() as taken:
            taken.bind(("localhost", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            environment(**(TORCHRUN | {"RANK": "0", "MASTER_PORT": port}))
            with pytest.raises(UserError, match=f"cannot meet the other processes at localhost:{port}: ") as error:
                distributed.init_dist("pytorch")
        assert "\n" not in str(error.value)


class TestRankAndSize:
    def test_before_the_group_is_there(self, environment):
        assert distributed.rank_and_size() == (0, 1)
        environment(**SLURM)
        assert distributed.rank_and_size() == (5, 8)
        environment(**TORCHRUN)
        assert distributed.rank_and_size() == (1, 2)


class TestCheckAlone:
    def test_refuses_several_processes(self, environment):
        environment(TORCHELASTIC_RUN_ID="none", WORLD_SIZE="2")
        with pytest.raises(UserError, match="torchrun has started 2 processes, but the command has no --launcher"):
            distributed.check_alone()

    @pytest.mark.parametrize("variables", [{}, {"WORLD_SIZE": "4"}, {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "1"}])
    def test_accepts_one(self, environment, variables):
        environment(**variables)
        distributed.check_alone()


TWO_PROCESSES = """
import os, sys, vsrm_arch, argparse, torch, torch.distributed as dist
from basicsr.models.base_model import BaseModel
from basicsr.utils.dist_util import get_dist_info
from vsrm_arch import config, distributed
parser = argparse.ArgumentParser()
config.add_flags(parser)
with config.launch(parser.parse_args(["-opt", sys.argv[1], "--launcher", "pytorch"])):
    opt, _ = config.parse_options(".")
assert (opt["rank"], opt["world_size"]) == get_dist_info()
assert dist.get_backend() == "gloo" and opt["dist"]
model = BaseModel(opt)
network = model.model_to_device(torch.nn.Linear(1, 1))
network(torch.full((1, 1), float(opt["rank"]))).sum().backward()
# The folders are there for every process, though the first one alone makes them, and takes its time.
import time
from basicsr.utils import misc
rename = misc.mkdir_and_rename
misc.mkdir_and_rename = lambda path: (time.sleep(1), rename(path))
misc.make_exp_dirs(opt | {"datasets": {}})
assert os.path.isdir(opt["path"]["models"])
print(opt["rank"], opt["world_size"], opt["manual_seed"], network.module.weight.grad.item(), flush=True)
distributed.shut_down()
assert not dist.is_initialized()
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes(tmp_path):
    options = tmp_path / "a.yml"
    options.write_text(
        "name: trial\nmodel_type: SRModel\nnum_gpu: 0\n"
        "datasets: {train: {name: x, type: PairedImageDataset, batch_size_per_gpu: 1, num_worker_per_gpu: 0}}\n"
        "network_g: {type: EDSR, num_in_ch: 3, num_out_ch: 3}\n"
        "train: {total_iter: 1}\nlogger: {print_freq: 1, save_checkpoint_freq: 1, use_tb_logger: false}\n"
    )
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = []
    for rank in ("0", "1"):
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
        environment = os.environ | variables | {"MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", TWO_PROCESSES, str(options)]
        processes.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
    lines = [process.communicate(timeout=240)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [line[:2] for line in lines] == [["0", "2"], ["1", "2"]]
    assert lines[0][2] == lines[1][2], "the seed is drawn once for all"
    assert [float(line[3]) for line in lines] == [0.5, 0.5], "the gradient is the mean of both"
