"""``evaluate``: the whole command on a CPU, and its errors."""

import csv

import pytest

from vsrm_arch import cli


@pytest.mark.slow
def test_the_whole_command(two_tests, capfd):
    command = ["evaluate", "-opt", "bic.yml", "tiny.yml", "--csv", "a.csv", "--markdown", "a.md"]
    assert cli.main(command) == 0
    table = capfd.readouterr().out
    title, _, clip, mean = table.splitlines()
    assert [cell.strip() for cell in title.split("|")[1:-1]] == ["Clips: psnr", "bicubic", "bic", "tiny"]
    cells = [cell.strip() for cell in clip.split("|")[1:-1]]
    assert cells[0] == "clip"
    assert cells[1] == cells[2]
    assert cells[1:] == [cell.strip() for cell in mean.split("|")[2:-1]]
    assert (two_tests / "a.md").read_text() == table
    with (two_tests / "a.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6

    # The first test's results serve again; the second fails, and the table goes without it.
    (two_tests / "results/tiny/visualization/Clips/metrics.json").unlink()
    (two_tests / "net.pth").unlink()
    assert cli.main(["evaluate", "-opt", "bic.yml", "tiny.yml", "--reuse"]) == 1
    out, err = capfd.readouterr()
    assert [cell.strip() for cell in out.splitlines()[0].split("|")[1:-1]] == ["Clips: psnr", "bic"]
    assert "net.pth" in err
    assert err.splitlines()[-1] == "failed, so missing above: tiny.yml"


@pytest.mark.slow
def test_a_test_without_figures(two_tests, capfd):
    """The others' figures are not lost."""
    other = (two_tests / "bic.yml").read_text(encoding="utf-8").replace("name: bic", "name: blind")
    (two_tests / "blind.yml").write_text(other.replace("dataroot_gt: gt", "dataroot_gt: null"), encoding="utf-8")
    assert cli.main(["evaluate", "-opt", "blind.yml", "bic.yml"]) == 1
    out, err = capfd.readouterr()
    assert [cell.strip() for cell in out.splitlines()[0].split("|")[1:-1]] == ["Clips: psnr", "bic"]
    assert err.splitlines()[-1] == "failed, so missing above: blind.yml"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to evaluate: name the option files of tests with -opt"),
        (["-opt", "none.yml"], "none.yml: no such option file"),
        (["-opt", "bic.yml", "--csv", "no/a.csv"], "--csv no/a.csv: there is no folder no; make it first"),
        (["-opt", "bic.yml", "--markdown", "gt"], "--markdown gt: is a folder"),
        (["-opt", "bic.yml", "bic.yml"], "bic.yml: has the name bic of bic.yml, so that"),
        (["-opt", "bic.yml", "--force_yml", "val:flip=true"], "val"),
    ],
)
def test_errors_are_one_line(two_tests, capsys, arguments, message):
    assert cli.main(["evaluate", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err
