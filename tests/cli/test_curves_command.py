"""``curves``: the whole command on what BasicSR's logger and our validation write, and its errors."""

import csv
from pathlib import Path

import cv2
import pytest
from basicsr.utils.logger import MessageLogger, init_tb_logger

from vsrm_arch import cli
from vsrm_arch.models.results import Results


def train(folder, iterations):
    """Leaves the events of a training, which is validated every other iteration."""
    tb_logger = init_tb_logger(str(folder))
    options = {"name": folder.name, "logger": {"print_freq": 1, "use_tb_logger": True}, "train": {"total_iter": 9}}
    logger = MessageLogger(options, iterations[0], tb_logger)
    for i in iterations:
        logger({"epoch": 0, "iter": i, "lrs": [1e-4], "l_pix": 1 / i, "l_freq": 2 / i, "grad_norm": 3 / i})
        if i % 2 == 0:
            Results("val", {"clip": {"psnr": 25 + i, "ssim": 0.8}}, {}, {"clip": 1}).log_to_tensorboard(tb_logger, i)
    tb_logger.close()


@pytest.fixture
def trainings(tmp_path, monkeypatch):
    """Two trainings, one of the same name elsewhere, one without events, and option files."""
    monkeypatch.chdir(tmp_path)
    train(Path("tb_logger/one"), range(1, 5))
    train(Path("tb_logger/two"), [1])
    train(Path("elsewhere/one"), range(1, 3))
    Path("tb_logger/silent").mkdir()
    Path("one.yml").write_text("name: one\n", encoding="utf-8")
    Path("silent.yml").write_text("name: silent\n", encoding="utf-8")
    Path("nameless.yml").write_text("scale: 4\n", encoding="utf-8")
    return tmp_path


def drawn(path):
    """(run, tag) → iterations of a CSV file."""
    found = {}
    with Path(path).open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["run"], row["tag"]), []).append(int(row["iteration"]))
    return found


def test_the_whole_command(trainings, capsys):
    assert cli.main(["curves", "one", "two", "-o", "a.png", "--csv", "a.csv"]) == 0
    assert capsys.readouterr().out == "a.png\n"
    assert cv2.imread("a.png").std() > 10
    losses, metrics = ("losses/l_pix", "losses/l_freq"), ("metrics/val/psnr", "metrics/val/ssim")
    expected = {("one", tag): [1, 2, 3, 4] for tag in losses} | {("one", tag): [2, 4] for tag in metrics}
    assert drawn("a.csv") == expected | {("two", tag): [1] for tag in losses}


def test_by_option_file_and_folder(trainings, capsys):
    """A training that is named twice is drawn once; two of one name are told apart by their folders."""
    (trainings / "one").mkdir()
    runs = ["one.yml", "one", "tb_logger/one/", "elsewhere/one"]
    assert cli.main(["curves", *runs, "--tag", "grad_*", "metrics/*/clip", "--csv", "a.csv"]) == 0
    tags = ("grad_norm", "metrics/val/psnr/clip", "metrics/val/ssim/clip")
    assert drawn("a.csv").keys() == {(run, tag) for run in ("tb_logger/one", "elsewhere/one") for tag in tags}
    assert (trainings / "curves.png").is_file()


def test_a_training_without_the_tags_is_named(trainings, capsys):
    assert cli.main(["curves", "one", "two", "--tag", "metrics/val/psnr", "--smooth", "0"]) == 0
    out, err = capsys.readouterr()
    assert out == "curves.png\n"
    assert err.splitlines()[-1] == "two: has logged none of these tags, so it is missing"


def test_neither_losses_nor_metrics(trainings, capsys):
    tb_logger = init_tb_logger("tb_logger/other")
    tb_logger.add_scalar("speed", 1, 1)
    tb_logger.close()
    assert cli.main(["curves", "other"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "error: neither losses nor metrics have been logged; choose with --tag of speed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["silent"], "tb_logger/silent: no TensorBoard events; a training writes them with logger: use_tb_logger: "),
        (["one", "silent.yml"], "tb_logger/silent: no TensorBoard events; a training writes them with"),
        (["onne"], "tb_logger/onne: no TensorBoard events; a training writes them with logger: use_tb_logger: true, "),
        (["none.yml"], "none.yml: no such option file; there is"),
        (["nameless.yml"], "nameless.yml: missing key 'name'"),
        (["one", "--tag", "metric/*"], "--tag metric/*: no training has logged it; did you mean 'metrics/val/"),
        (["one", "--smooth", "1"], "--smooth 1: must be at least 0 and less than 1"),
        (["one", "--smooth", "-0.5"], "--smooth -0.5: must be at least 0 and less than 1"),
        (["one", "-o", "no/a.png"], "-o no/a.png: there is no folder no; make it first"),
        (["one", "-o", "a.txt"], "-o a.txt: no picture format; name a file that ends in"),
        (["one", "--csv", "no/a.csv"], "--csv no/a.csv: there is no folder no; make it first"),
    ],
)
def test_errors_are_one_line(trainings, capsys, arguments, message):
    capsys.readouterr()
    assert cli.main(["curves", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: {message}")
    assert not (trainings / "curves.png").exists()


def test_a_mistyped_name(trainings, capsys):
    assert cli.main(["curves", "onne"]) == 1
    assert capsys.readouterr().err.endswith("contains debug; did you mean 'one'?\n")


def test_before_any_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["curves", "one"]) == 1
    assert capsys.readouterr().err.endswith("unless its name contains debug\n")
