"""``erf``: the whole command on a CPU, and its errors."""

import cv2
import pytest
import torch

from vsrm_arch import cli
from vsrm_arch.archs import VSRM

TINY = {"embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "d_state": 4, "flow_network": "none"}
SHORT = ["--device", "cpu", "--size", "10x8", "--frames", "2", "--clips", "1"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A network with weights, one without, and one whose weights are not there."""
    monkeypatch.chdir(tmp_path)
    options = ", ".join(f"{key}: {value}" for key, value in TINY.items())
    network = f"network_g: {{type: VSRM, {options}}}\n"
    torch.save({"params": VSRM(**TINY).state_dict()}, "net.pth")
    for name, path in (
        ("trained", "path: {pretrain_network_g: net.pth}\n"),
        ("bare", ""),
        ("gone", "path: {pretrain_network_g: no.pth}\n"),
    ):
        (tmp_path / f"{name}.yml").write_text(network + path, encoding="utf-8")
    return tmp_path


def test_the_whole_command(files, capsys):
    assert cli.main(["erf", "-opt", "trained.yml", "trained.yml", *SHORT, "-o", "two.png"]) == 0
    assert capsys.readouterr().out == "two.png\n"
    picture = cv2.imread("two.png")
    assert picture.std() > 10
    assert picture.shape[1] > 1.5 * picture.shape[0]


def test_untrained(files, capsys):
    assert cli.main(["erf", "-opt", "bare.yml", "--untrained", *SHORT]) == 0
    assert (files / "erf.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to draw: name option files with -opt"),
        (["-opt", "none.yml"], "none.yml: no such option file; there is"),
        (["-opt", "bare.yml", *SHORT], "bare.yml: path.pretrain_network_g names no weights; --untrained takes random"),
        (
            ["-opt", "gone.yml", *SHORT],
            "gone.yml: path.pretrain_network_g: cannot read no.pth: No such file",
        ),
        (["-opt", "bare.yml", "--frames", "0"], "--frames 0: must be at least 1"),
        (["-opt", "bare.yml", "-o", "no/a.png"], "-o no/a.png: there is no folder no; make it first"),
        (["-opt", "bare.yml", "-o", "a.txt"], "-o a.txt: no picture format; name a file that ends in"),
        (["-opt", "bare.yml", "--size", "8"], "--size 8: expected 2 positive numbers with x between them"),
    ],
)
def test_errors_are_one_line(files, capsys, arguments, message):
    assert cli.main(["erf", *arguments]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {message}")
