"""``compare``: the whole command on a CPU, and its errors."""

import shutil

import cv2
import pytest

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

    # Without weights, the first test's pictures serve again; what is drawn once is drawn again.
    (two_tests / "net.pth").unlink()
    region = out.strip().rpartition(" ")[2]
    again = ["--region", region, "--reuse", "-o", "again.png"]
    assert cli.main(["compare", "-opt", "bic.yml", "tiny.yml", *again]) == 0
    assert (cv2.imread("again.png") == cv2.imread("compare.png")).all()
    assert cli.main(["compare", "-opt", "bic.yml", "tiny.yml"]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == "error: tiny.yml: its test has failed, see above"

    # Another program's pictures, and a row over time.
    shutil.copytree("gt/clip", "other")
    other = ["compare", "-opt", "bic.yml", "--reuse", "--method", "exact=other", "--row", "31", "-o", "row.pdf"]
    assert cli.main(other) == 0
    assert capfd.readouterr().out == "row.pdf: clip, frame 1, row 31\n"
    for arguments, message in (
        (["--row", "32"], "--row 32: the frames have rows 0 to 31"),
        (["--frame", "2"], "GT has no frame 2"),
        (["--region", "20,0,13,1"], "--region 20,0,13,1: reaches beyond the frame, which is 32 wide and 32 high"),
        (["--method", "small=lq/clip"], "small and GT have frames of 8x8 and 32x32; they must be of one size"),
        (["--method", "few=results"], "few: 0 pictures in results, but 2 frames in the clip; test again"),
    ):
        assert cli.main(["compare", "-opt", "bic.yml", "--reuse", *arguments]) == 1
        assert capfd.readouterr().err.splitlines()[-1] == f"error: {message}"


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
    ],
)
def test_errors_are_one_line(capsys, arguments, message):
    assert cli.main(["compare", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: {message}")
