"""The documentation: its commands run, its Python runs, its links lead somewhere."""

import argparse
import importlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from vsrm_arch import config
from vsrm_arch.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "experiments/README.md",
    "options/README.md",
    "CONTRIBUTING.md",
    "datasets/README.md",
    "CHANGELOG.md",
)
OPS_PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "vsrm_arch").rglob("README.md"))
# The pages whose commands are followed from top to bottom.
GUIDES = ("README.md", "experiments/README.md", "options/README.md")

# Commands that no test runs, by how they begin, and why. Their option files and arguments are checked all the same.
NOT_RUN = {
    "pip install": ".ci/run installs, in an environment of its own",
    "MAMBA_KEEP_CUDA_BUILD=TRUE": "compiles for a GPU",
    "pytest": "this is it",
    "basicsr prepare reds": "needs a download; tests/data runs it on a small imitation",
    "basicsr prepare vimeo90k": "needs a download; tests/data runs it on a small imitation",
    "basicsr prepare vid4": "needs a download; tests/data runs it on a small imitation",
    "basicsr train -opt options/train_": "needs a download and a GPU",
    "basicsr test -opt options/test_": "needs a download and a full training",
    "basicsr evaluate -opt options/test_": "needs downloads and full trainings",
    "basicsr bench -opt options/test_": "the full networks: needs a GPU",
    "basicsr complexity -opt options/test_": "the full networks: needs a GPU",
    "basicsr bench -opt options/train_": "the full networks: needs a GPU",
    "basicsr bench ops --op selective_scan --dtype bf16 float32 --backend triton": "needs a GPU and mamba-ssm",
    "torchrun --nproc_per_node=8": "needs eight GPUs",
    "torchrun --nproc_per_node=4": "needs four GPUs",
    "torchrun --nproc_per_node=2 -m vsrm_arch train -opt options/train_": "needs two GPUs and a download",
    "CUDA_VISIBLE_DEVICES=2,3 torchrun": "needs four GPUs",
    "torchrun --nnodes=2": "needs two machines",
    "srun": "needs Slurm",
}
# What is added to the --force_yml of a command that runs, so that it takes seconds.
SHORT_TRAINING = (
    "train:total_iter=2",
    "val:val_freq=2",
    "logger:save_checkpoint_freq=2",
    "logger:print_freq=1",
    "datasets:val:max_frames=2",
    "datasets:val:center_crop=64",
)
SHORT_TEST = ("datasets:test:max_frames=2", "datasets:test:center_crop=64")


def blocks(page, *languages):
    """(language, text) of each code block of these languages, in order; indented ones as well."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for indent, language, body in re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield language, re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)


def commands_in(text):
    """The commands of a shell block, a string each: comments left out, continued lines and ``&&`` taken apart."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            yield from (part.strip() for part in line.split(" && "))


def all_commands():
    return [(page, command) for page in GUIDES for _, text in blocks(page, "bash") for command in commands_in(text)]


def reason_not_to_run(command):
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), None)


def our_arguments(command):
    """What a command hands to ours; None if it is another program's."""
    words = shlex.split(command.partition(" | ")[0].partition(" > ")[0])
    if "vsrm_arch" in words and words[words.index("vsrm_arch") - 1] == "-m":
        return words[words.index("vsrm_arch") + 1 :]
    if "basicsr" in words:
        return words[words.index("basicsr") + 1 :]
    if words[:2] == ["python", "my_train.py"]:  # the README's script, which trains with the same flags
        return ["train", *words[2:]]
    return None


def parse_command(arguments):
    """Parses what a command hands to ours, with the command's own parser."""
    name, *rest = arguments
    parser = argparse.ArgumentParser()
    importlib.import_module(f"vsrm_arch.cli.{name}").add_arguments(parser)
    return parser.parse_args(rest)


def shortened(command):
    """The command with settings that make it short, if it trains or tests."""
    arguments = our_arguments(command)
    if arguments is not None and arguments[0] == "upscale":
        return f"{command} --window 3 --tile 0"
    if arguments is None or arguments[0] not in ("train", "test", "evaluate", "compare"):
        return command
    settings = SHORT_TRAINING if arguments[0] == "train" else SHORT_TEST
    # The last --force_yml of a command line counts, and its last assignment of a key.
    return (
        f"{command} {' '.join(settings)}"
        if "--force_yml" in arguments
        else f"{command} --force_yml {' '.join(settings)}"
    )


class TestReading:
    def test_the_two_commands_come_first(self):
        first = [text.strip() for _, text in blocks("README.md", "bash")][:2]
        assert first == [
            "pip install -e . && basicsr train -opt options/sample/train_VSRM_sample.yml",
            'pip install -e ".[test]" && pytest',
        ]

    def test_a_block_is_taken_apart(self):
        text = "#!/bin/bash\npip install . && basicsr train -opt a.yml \\\n    --debug\n\n# a comment\npytest\n"
        assert [" ".join(c.split()) for c in commands_in(text)] == [
            "pip install .",
            "basicsr train -opt a.yml --debug",
            "pytest",
        ]

    def test_our_arguments(self):
        assert our_arguments("A=1 torchrun --nproc_per_node=2 -m vsrm_arch train -opt a") == ["train", "-opt", "a"]
        assert our_arguments("srun --nodes=2 basicsr test -opt a") == ["test", "-opt", "a"]
        assert our_arguments("pytest") is None

    def test_every_shell_block_is_seen(self):
        languages = {
            language for page in PAGES for language in re.findall(r"```(\w+)", (ROOT / page).read_text("utf-8"))
        }
        assert languages <= {"bash", "python", "text", "yaml", "bibtex"}, "a block in another language is not tested"


@pytest.mark.parametrize(("page", "command"), all_commands())
def test_arguments_and_option_files(page, command):
    arguments = our_arguments(command)
    if arguments is None:
        other = ("pip install", "pytest", 'python -c "', "MAMBA_KEEP_CUDA_BUILD=TRUE")
        assert command.startswith((*other, "bash .ci/run")), "say in the test what checks this command"
        return
    assert arguments[0] in COMMANDS
    args = parse_command(arguments)
    if arguments[0] in ("train", "test"):
        config.read_options(str(ROOT / args.opt), args.force_yml, is_train=arguments[0] == "train")
        launcher = "pytorch" if "torchrun" in command else "slurm" if command.startswith("srun") else "none"
        assert args.launcher == launcher
    if arguments[0] in ("evaluate", "compare"):
        for file in args.opt:
            config.read_options(str(ROOT / file), args.force_yml, is_train=False)


@pytest.mark.parametrize("command", [c for _, c in all_commands() if "torchrun" in c])
def test_arguments_of_torchrun(command):
    from torch.distributed.run import get_args_parser

    words = shlex.split(command)
    args = get_args_parser().parse_args(words[words.index("torchrun") + 1 :])
    assert (args.module, args.training_script) == (True, "vsrm_arch")


@pytest.fixture
def workspace(tmp_path):
    """A folder as a user's: the option files, and frames of two clips."""
    (tmp_path / "options").mkdir()
    for file in (ROOT / "options").rglob("*.yml"):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    rng = np.random.default_rng(0)
    for clip in ("beach", "holiday"):
        folder = tmp_path / "my_frames" / clip
        folder.mkdir(parents=True)
        for index in range(3):
            cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 255, (32, 48, 3), np.uint8))
    with av.open(str(tmp_path / "holiday.mp4"), "w") as video:
        stream = video.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for _ in range(3):
            noise = rng.integers(0, 255, (32, 48, 3), np.uint8)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        video.mux(stream.encode())
    return tmp_path


ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def run_in_shell(command, workspace):
    """Runs a command as a reader's shell would; returns its exit status and what it says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | ENVIRONMENT | {"PET_MASTER_PORT": str(port)}  # torchrun's --master_port
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, shell=True, cwd=workspace, env=environment, check=False, **pipes)
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a command in a folder; returns what it says. Plain commands of ours do not import PyTorch anew each time."""
    output = tmp_path_factory.mktemp("output") / "output.txt"
    program = [sys.executable, str(Path(__file__).with_name("forked_commands.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runner = subprocess.Popen(program, env=os.environ | ENVIRONMENT, **pipes)

    def run_command(command, workspace):
        words = shlex.split(command)
        if words[0] == "basicsr" and not {"|", ">"} & set(words):
            job = {"arguments": words[1:], "folder": str(workspace), "output": str(output)}
            runner.stdin.write(json.dumps([job]) + "\n")
            runner.stdin.flush()
            (status,), said = json.loads(runner.stdout.readline()), output.read_text("utf-8")
        else:
            status, said = run_in_shell(command, workspace)
        assert status == 0, f"{command}\n{said[-4000:]}"
        return said

    yield run_command
    runner.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", GUIDES)
def test_a_reader_follows_the_page(page, workspace, run):
    """Every command and every piece of Python, in the page's order, in one folder."""
    for language, text in blocks(page, "bash", "python"):
        if language == "python":
            run_python(text, workspace, run)
            continue
        for command in commands_in(text):
            if reason_not_to_run(command) is None:
                run(shortened(command), workspace)
    if page == "README.md":
        for left in ("experiments/VSRM_sample/models/net_g_latest.pth", "datasets/mine/train_GT.lmdb", "results"):
            assert (workspace / left).exists()


def run_python(text, workspace, run):
    """A piece whose first line is ``# <name>.py`` is a file that a later command runs."""
    file = re.match(r"# (\w+\.py)\n", text)
    path = workspace / (file[1] if file else "piece.py")
    path.write_text(text, encoding="utf-8")
    if not file:
        output = run("python piece.py", workspace)
        for shown in re.findall(r"^print\(.*\)  # (.*)$", text, re.MULTILINE):
            assert shown in output.splitlines()


def test_no_reason_is_out_of_date():
    commands = [command for _, command in all_commands()]
    assert [start for start in NOT_RUN if not any(command.startswith(start) for command in commands)] == []


def slug(heading):
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", "")).replace(" ", "-")


def anchors(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", [*PAGES, *OPS_PAGES])
def test_links_and_images_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http:", "https:"))]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = ROOT / page if not path else (ROOT / page).parent / path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_parameter_table_is_that_of_the_specification():
    """tests/archs/test_vsrm.py measures the parts; the README shows the same numbers."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!\*\*)[^|]+ \| ([\d,]+) \|$", readme, re.MULTILINE)
    numbers = [int(number.replace(",", "")) for number in rows]
    assert sum(numbers) == 17_076_281
    measured = (ROOT / "tests" / "archs" / "test_vsrm.py").read_text(encoding="utf-8").replace("_", "")
    assert [n for n in numbers if str(n) not in measured and n != 37_632 + 1_792] == []
