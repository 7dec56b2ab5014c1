"""The command line itself: its table, its help, and how each kind of error ends."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vsrm_arch import cli
from vsrm_arch.errors import UserError


@pytest.fixture
def command(monkeypatch):
    """Adds a command ``fail`` that raises what it is given."""

    def add(error):
        def run(args):
            raise error

        module = SimpleNamespace(__doc__="Fails.", add_arguments=lambda parser: None, run=run)
        monkeypatch.setitem(cli.COMMANDS, "fail", "fails")
        monkeypatch.setitem(sys.modules, "vsrm_arch.cli.fail", module)

    return add


class TestHelp:
    @pytest.mark.parametrize("argv", [["-h"], ["--help"]])
    def test_lists_the_commands(self, capsys, argv):
        assert cli.main(argv) == 0
        text = capsys.readouterr().out
        for name, summary in cli.COMMANDS.items():
            assert f"{name:12}{summary}" in text
        assert "examples:" in text

    def test_without_arguments(self, capsys):
        assert cli.main([]) == 2
        assert "commands:" in capsys.readouterr().out

    @pytest.mark.parametrize("name", sorted(cli.COMMANDS))
    def test_every_command_has_examples(self, capsys, name):
        assert cli.main([name, "-h"]) == 0
        text = capsys.readouterr().out
        assert "examples:" in text
        assert f"basicsr {name}" in text
        assert max(len(line) for line in text.splitlines()) <= 120

    def test_training_on_several_gpus(self, capsys):
        cli.main(["train", "-h"])
        text = capsys.readouterr().out
        for words in (
            "torchrun --nproc_per_node=8 -m vsrm_arch train",
            "torchrun --nproc_per_node=8 $(which basicsr) train",
            "srun",
            "--auto_resume",
            "--force_yml",
            "null for none",
            "--debug",
        ):
            assert words in text

    def test_the_program_is_called_what_the_user_called(self, capsys, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/vsrm", "train", "-h"])
        cli.main()
        assert capsys.readouterr().out.startswith("usage: vsrm train")
        monkeypatch.setattr(sys, "argv", ["/somewhere/vsrm_arch/__main__.py", "-h"])
        cli.main()
        assert capsys.readouterr().out.startswith("usage: python -m vsrm_arch")

    @pytest.mark.slow
    @pytest.mark.timeout(120)
    def test_as_installed(self):
        beginnings = {
            "basicsr -h": "usage: basicsr ",
            "basicsr train -h": "usage: basicsr train ",
            "vsrm --version": "vsrm-arch 0.",
        }
        folder = Path(sys.executable).parent
        started = {
            line: subprocess.Popen(
                [folder / line.split()[0], *line.split()[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for line in beginnings
        }
        for line, process in started.items():
            output, errors = process.communicate(timeout=100)
            assert output.startswith(beginnings[line])
            assert (process.returncode, errors) == (0, "")


class TestErrors:
    def test_unknown_command(self, capsys):
        assert cli.main(["trainn"]) == 1
        assert capsys.readouterr().err.endswith("unknown command 'trainn'; did you mean 'train'?\n")

    def test_wrong_usage(self, capsys):
        assert cli.main(["train"]) == 2
        assert "the following arguments are required: -opt" in capsys.readouterr().err

    def test_what_the_user_can_mend(self, capsys, command):
        command(UserError("a.yml: no such file"))
        assert cli.main(["fail"]) == 1
        assert capsys.readouterr().err == "error: a.yml: no such file\n"

    def test_with_the_rank(self, capsys, command, monkeypatch):
        monkeypatch.setenv("RANK", "3")
        monkeypatch.setenv("WORLD_SIZE", "4")
        command(UserError("a.yml: no such file"))
        assert cli.main(["fail"]) == 1
        assert capsys.readouterr().err == "error: [rank 3] a.yml: no such file\n"

    def test_from_a_loaders_worker(self, capsys, command):
        """PyTorch hands a worker's exception over with its traceback as the message."""
        command(
            UserError(
                "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
                '  File "x.py", line 1, in f\nvsrm_arch.errors.UserError: clip 011: frame 3 is broken\n'
            )
        )
        assert cli.main(["fail"]) == 1
        assert capsys.readouterr().err == "error: clip 011: frame 3 is broken\n"

    def test_interrupted(self, capsys, command, monkeypatch):
        command(KeyboardInterrupt())
        assert cli.main(["fail"]) == 130
        assert capsys.readouterr().err == "interrupted\n"
        command(KeyboardInterrupt("3 of 9 clips are done"))
        assert cli.main(["fail"]) == 130
        assert capsys.readouterr().err == "interrupted: 3 of 9 clips are done\n"

    def test_interrupted_is_said_once(self, capsys, command, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        command(KeyboardInterrupt())
        assert cli.main(["fail"]) == 130
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_disk_full(self, capsys, command, number):
        command(OSError(number, "Disk quota exceeded", "experiments/a.pth"))
        assert cli.main(["fail"]) == 1
        assert capsys.readouterr().err == "error: experiments/a.pth: Disk quota exceeded; make room\n"
        command(OSError(number, "full"))
        assert cli.main(["fail"]) == 1
        assert capsys.readouterr().err == "error: no space left on the disk; make room\n"

    @pytest.mark.parametrize(
        ("number", "message"),
        [
            (errno.EACCES, "Permission denied; mend its permissions or use another folder"),
            (errno.EPERM, "Operation not permitted; mend its permissions or use another folder"),
            (errno.EROFS, "Read-only file system; use a folder that can be written"),
            (errno.ENOTDIR, "Not a directory; move the file in its way"),
            (errno.EEXIST, "File exists; move what lies there"),
            (errno.EIO, "Input/output error; mend that"),
        ],
    )
    def test_a_file_that_cannot_be_used(self, capsys, command, number, message):
        command(OSError(number, os.strerror(number), "experiments/trial"))
        assert cli.main(["fail"]) == 1
        assert capsys.readouterr().err == f"error: experiments/trial: {message}\n"

    @pytest.mark.parametrize("error", [ConnectionError(errno.EPIPE, "no"), ValueError("a fault of ours")])
    def test_others_keep_their_traceback(self, command, error):
        command(error)
        with pytest.raises(type(error)):
            cli.main(["fail"])
