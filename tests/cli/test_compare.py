"""``compare``: the whole command on a CPU, and its errors."""

import shutil

import cv2
import pytest
import torch

from vsrm_arch import cli

pytestmark = pytest.mark.usefixtures("two_tests")
pytest.importorskip("matplotlib", reason="needs matplotlib: the extra plot")


@pytest.mark.slow
def test_the_whole_command(two_tests, capfd):
    assert cli.main(["compare", "-opt", "bic.yml", "tiny.yml", "--size", "6x8"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("compare.png: clip, frame 1, region ")
    assert out.endswith(",8,6\n")
    assert cv2.imread("compare.png").std() > 10

    # The pictures serve again; what is drawn once is drawn again.
    region = out.strip().rpartition(" ")[2]
    again = ["--region", region, "--reuse", "-o", "again.png"]
    assert cli.main(["compare", "-opt", "bic.yml", "tiny.yml", *again]) == 0
    assert (cv2.imread("again.png") == cv2.imread("compare.png")).all()
    assert "Testing" not in capfd.readouterr().err
    # One of them is gone: that test runs again, and fails now.
    (two_tests / "results/tiny/visualization/Clips/clip/00000001_tiny.png").unlink()
    torch.save({"params": {}}, "net.pth")
    assert cli.main(["compare", "-opt", "bic.yml", "tiny.yml", "--reuse"]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == "error: tiny.yml: its test has failed, see above"

    # Another program's pictures, and a row over time.
    shutil.copytree("gt/clip", "other")
    other = ["compare", "-opt", "bic.yml", "--reuse", "--method", "exact=other", "--row", "31", "-o", "row.pdf"]
    assert cli.main(other) == 0
    assert capfd.readouterr().out == "row.pdf: clip, frame 1, row 31\n"


@pytest.mark.slow
def test_without_a_truth_and_of_the_centre_frame_alone(two_tests, capfd):
    settings = ["datasets:test:dataroot_gt=null", "val:compare_bicubic=false"]
    assert cli.main(["compare", "-opt", "tiny.yml", "--size", "6x8", "--force_yml", *settings]) == 0
    assert capfd.readouterr().out.startswith("compare.png: clip, frame 1, region ")
    settings = ["val:center_frame_only=true", "name=centre"]
    assert cli.main(["compare", "-opt", "bic.yml", "--force_yml", *settings]) == 0
    row = ["--reuse", "--row", "3"]
    assert cli.main(["compare", "-opt", "bic.yml", *row, "--force_yml", *settings]) == 1
    message = (
        "error: centre has one frame of the clip alone, which shows nothing over time; choose a longer clip, or set"
    )
    assert capfd.readouterr().err.splitlines()[-1].startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to compare: name the option files of tests with -opt"),
        (["-opt", "none.yml"], "none.yml: no such option file"),
        (["-opt", "bic.yml", "-o", "no/a.png"], "-o no/a.png: there is no folder no; make it first"),
        (["-opt", "bic.yml", "bic.yml"], "bic.yml: has the name bic of bic.yml, so that"),
        (["-opt", "bic.yml", "--clip", "x"], "--clip x: Clips has no such clip"),
        (["-opt", "bic.yml", "--size", "64"], "--size 64: expected 2 positive numbers with x between them"),
        (["-opt", "bic.yml", "--region", "1,2,3"], "--region 1,2,3: expected left, top, width and height"),
        (["-opt", "bic.yml", "--region", "1,2,3,0"], "--region 1,2,3,0: expected left, top, width and height"),
        (["-opt", "bic.yml", "--method", "lq"], "--method lq: expected NAME=FOLDER"),
        (["-opt", "bic.yml", "--method", "a=no"], "--method a=no: there is no folder no"),
        (["-opt", "bic.yml", "--method", "bic=gt/clip"], "--method bic=gt/clip: something else is called bic"),
        (["-opt", "bic.yml", "--method", "GT=gt/clip"], "--method GT=gt/clip: something else is called GT"),
        (["-opt", "bic.yml", "--method", "a=gt"], "a: 0 pictures in gt, where 2 frames should be"),
        (["-opt", "bic.yml", "--force_yml", "name=GT"], "bic.yml: the name GT stands for something else here"),
        (
            ["-opt", "bic.yml", "--dataset", "V"],
            "bic.yml: has no data set V, but Clips; choose one that all",
        ),
        (["-opt", "bic.yml", "--row", "32"], "--row 32: the frames have rows 0 to 31"),
        (["-opt", "bic.yml", "--frame", "2"], "--frame 2: clip has frames 0 to 1"),
        (["-opt", "bic.yml", "--frame", "-1"], "--frame -1: clip has frames 0 to 1"),
        (
            ["-opt", "bic.yml", "--frame", "0", "--force_yml", "val:center_frame_only=true"],
            "--frame 0: bic.yml saves frame 1 of clip alone; leave --frame out",
        ),
        (
            ["-opt", "bic.yml", "--region", "20,0,13,1"],
            "--region 20,0,13,1: reaches beyond the frame, which is 32 wide",
        ),
    ],
)
def test_errors_are_one_line(capsys, arguments, message):
    assert cli.main(["compare", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: {message}")
