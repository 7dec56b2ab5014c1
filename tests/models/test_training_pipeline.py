"""BasicSR's stock training pipeline in processes of its own: killed, resumed, distributed."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
import yaml

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs the pipeline in a folder, with several ranks as torchrun does; returns statuses and what went to stderr."""
    logs = tmp_path_factory.mktemp("logs")
    command = [sys.executable, str(Path(__file__).with_name("run_tiny.py"))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runner = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)

    def run_pipeline(folder, *flags, ranks=1, kill="", options=None):
        folder.mkdir(exist_ok=True)
        (folder / "losses.jsonl").unlink(missing_ok=True)
        if options is not None:
            (folder / "tiny.yml").write_text(yaml.safe_dump(options))
        port = free_port()
        jobs = []
        for rank in range(ranks):
            variables = {"TINY_KILL": kill}
            if ranks > 1:
                variables |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
                variables |= {"LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            all_flags = ["-opt", "tiny.yml", *(["--launcher", "pytorch"] if ranks > 1 else []), *flags]
            output = str(logs / f"{rank}.log")
            jobs.append({"folder": str(folder), "flags": all_flags, "environment": variables, "output": output})
        runner.stdin.write(json.dumps(jobs) + "\n")
        runner.stdin.flush()
        statuses = json.loads(runner.stdout.readline())
        return statuses, [Path(job["output"]).read_text() for job in jobs]

    yield run_pipeline
    runner.communicate(timeout=60)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def losses(folder):
    """Iteration → losses, of the last run in a folder."""
    return {iteration: line["losses"] for iteration, line in _lines(folder)}


def clips(folder):
    """Iteration → the names of its clips."""
    return {iteration: line["clips"] for iteration, line in _lines(folder)}


def _lines(folder):
    lines = map(json.loads, (folder / "losses.jsonl").read_text().splitlines())
    return [(line.pop("iteration"), line) for line in lines]


def final_state(folder):
    network = torch.load(folder / "experiments/tiny/models/net_g_8.pth", weights_only=True)
    state = torch.load(folder / "experiments/tiny/training_states/8.state", weights_only=True)
    return network, state


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def many_clips():
    """Two epochs of five iterations, which end neither with a checkpoint nor with a kill."""
    options = tiny.file_options()
    options["datasets"]["train"] |= {"num_clips": 10}
    return options


@pytest.fixture(scope="module")
def uninterrupted(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    statuses, texts = run(folder, options=many_clips())
    assert statuses == [0], texts
    return folder


# Write 1 is the copy of the option file. The second iteration's checkpoint is writes 2 (network) and 3 (state), the
# fourth's 4 and 5; its validation writes the best network and the scores, 6 and 7.
@pytest.mark.parametrize(
    ("kill", "resumes_at"),
    [
        ("iteration:6", 4),
        ("write:2", 0),
        ("write:3", 0),
        ("write:4", 2),
        ("write:5", 2),
        ("write:6", 4),
        ("write:7", 4),
    ],
)
def test_killed_training_goes_on_to_the_same_weights(run, tmp_path, uninterrupted, kill, resumes_at):
    statuses, texts = run(tmp_path, kill=kill, options=many_clips())
    assert statuses == [-9], texts
    statuses, texts = run(tmp_path, "--auto_resume")
    assert statuses == [0], texts
    assert min(losses(tmp_path)) == resumes_at + 1
    (network, state), (expected_network, expected_state) = final_state(tmp_path), final_state(uninterrupted)
    assert same(network, expected_network)
    for name in ("iter", "optimizers", "schedulers", "best_metrics"):
        assert same(state[name], expected_state[name])
    best = [folder / "experiments/tiny/models/net_g_best.pth" for folder in (tmp_path, uninterrupted)]
    assert same(*(torch.load(path, weights_only=True) for path in best))
    assert not list(tmp_path.glob("experiments/tiny/**/*.partial"))


def test_resumed_training_goes_on_with_the_clips_that_are_left(run, tmp_path):
    options = many_clips()
    options["datasets"]["train"] |= {"num_worker_per_gpu": 2}
    whole, first = tmp_path / "whole", tmp_path / "first"
    run(whole, options=options)
    statuses, texts = run(first, kill="iteration:4", options=options)
    assert statuses == [-9], texts
    seen = clips(first)
    statuses, texts = run(first, "--auto_resume")
    assert statuses == [0], texts
    expected = clips(whole)
    assert seen == {iteration: expected[iteration] for iteration in (1, 2, 3)}
    assert clips(first) == {iteration: expected[iteration] for iteration in range(3, 9)}
    assert len({name for iteration in range(1, 6) for name in expected[iteration]}) == 10


def test_two_processes_give_the_losses_of_one_with_twice_the_batch(run, tmp_path):
    options = tiny.file_options()
    options["network_g"] |= {"with_flow": True}
    options["train"] |= {"grad_clip": 0.05}
    options["val"]["metrics"]["calm"] = {"type": "calculate_warping_error", "crop_border": 0}
    options["datasets"]["train"] |= {"num_clips": 8, "batch_size_per_gpu": 4}
    statuses, texts = run(tmp_path / "one", options=options)
    assert statuses == [0], texts
    options["train"] |= {"accumulate": 2}
    options["datasets"]["train"] |= {"batch_size_per_gpu": 2}
    statuses, texts = run(tmp_path / "two", ranks=2, options=options)
    assert statuses == [0, 0], texts
    whole_losses, half_losses = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert whole_losses.keys() == half_losses.keys() == set(range(1, 9))
    for iteration, expected in whole_losses.items():
        assert half_losses[iteration] == pytest.approx(expected, rel=1e-6 if iteration <= 3 else 1e-5), iteration
    (network, state), (whole_network, _) = final_state(tmp_path / "two"), final_state(tmp_path / "one")
    for key in ("params", "params_ema"):
        # The network counts its calls; the parts of a batch are calls of their own.
        assert network[key].pop("calls") == 2 * whole_network[key].pop("calls")
        torch.testing.assert_close(network[key], whole_network[key], rtol=1e-4, atol=1e-6)
    assert len(state["random_states"]) == 2
    # Three clips for two ranks: each has been validated once, by the same averaged weights.
    metrics = [(tmp_path / n / "experiments/tiny/visualization/val/metrics.json").read_text() for n in ("one", "two")]
    values = [[float(v) for v in re.findall(r'"(?:psnr|calm)": ([\d.]+)', text)] for text in metrics]
    assert len(values[0]) == 12
    assert values[1] == pytest.approx(values[0], rel=1e-4)


def test_a_loss_that_is_no_number_stops_all_processes_and_spares_the_checkpoints(run, tmp_path):
    options = tiny.file_options()
    # BasicSR shuffles by the epoch's number; the clip at place 9 is rank 1's of iteration 5.
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0)).tolist()
    training = options["datasets"]["train"]
    training |= {"batch_size_per_gpu": 1, "num_clips": 16, "nan": [order[9]]}
    # A set of one clip leaves a rank without work.
    options["datasets"]["val"]["num_clips"] = 1
    statuses, texts = run(tmp_path, ranks=2, options=options)
    assert statuses == [1, 1]
    message = f"error: iteration 5: l_pix is nan, l_freq is nan, grad_norm is nan, clips clip{order[9]:03d}; "
    assert all(f"\n{message}" in f"\n{text}" for text in texts), texts

    training["nan"] = []
    statuses, texts = run(tmp_path, "--auto_resume", ranks=2, options=options)
    assert statuses == [0, 0], texts
    assert losses(tmp_path).keys() == set(range(5, 9))
