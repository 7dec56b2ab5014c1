"""``evaluate``: the whole command on a CPU, and its errors."""

import csv
import os

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.basicvsrpp_arch import BasicVSRPlusPlus
from basicsr.utils import tensor2img

from vsrm_arch import cli
from vsrm_arch.archs import Bicubic
from vsrm_arch.cli import evaluate
from vsrm_arch.inference import super_resolve
from vsrm_arch.metrics import calculate_lpips, calculate_warping_error


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
    torch.save({"params": {}}, "net.pth")
    assert cli.main(["evaluate", "-opt", "bic.yml", "tiny.yml", "--reuse"]) == 1
    out, err = capfd.readouterr()
    assert [cell.strip() for cell in out.splitlines()[0].split("|")[1:-1]] == ["Clips: psnr", "bic"]
    assert "net.pth" in err
    assert err.splitlines()[-1] == "failed, so missing above: tiny.yml"


@pytest.mark.slow
def test_other_metrics_for_one_run(two_tests, capfd, random_trunk, monkeypatch):
    """LPIPS and the warping error beside what the files ask for, of bicubic enlargement as well."""
    random_trunk("alexnet")
    metrics = [
        "val:metrics:lpips={type: calculate_lpips, crop_border: 0}",
        "val:metrics:calm={type: calculate_warping_error, crop_border: 0}",
    ]
    assert cli.main(["evaluate", "-opt", "bic.yml", "tiny.yml", "--csv", "a.csv", "--force_yml", *metrics]) == 0
    out, err = capfd.readouterr()
    title = [cell.strip() for cell in out.splitlines()[0].split("|")[1:-1]]
    assert title == ["Clips: psnr / lpips / calm", "bicubic", "bic", "tiny"]
    assert "pretrained" not in err
    with (two_tests / "a.csv").open() as file:
        rows = {(row["network"], row["clip"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
    truth = [cv2.imread(f"gt/clip/{i}.png") for i in range(2)]
    clip = torch.stack([torch.from_numpy(cv2.imread(f"lq/clip/{i}.png")).permute(2, 0, 1) / 255 for i in range(2)])
    enlarged = [tensor2img(frame, rgb2bgr=False) for frame in super_resolve(Bicubic(4), clip[None], scale=4)[0]]
    expected = {
        "lpips": np.mean([calculate_lpips(ours, gt, 0) for ours, gt in zip(enlarged, truth, strict=True)]),
        "calm": np.mean(calculate_warping_error(enlarged, truth, 0)),
    }
    for metric, value in expected.items():
        for network in ("bicubic", "bic"):
            assert rows[network, "clip", metric] == pytest.approx(value, rel=1e-3)
        assert rows["tiny", "clip", metric] != pytest.approx(value, rel=1e-3)

    # What an earlier test has measured serves again; whatever changes its figures does not.
    tested = []
    monkeypatch.setattr(evaluate, "run_test", lambda test, assignments: tested.append(test.path))
    again = ["evaluate", "-opt", "tiny.yml", "--reuse", "--force_yml", *metrics]
    assert cli.main([*again, "val:save_img=true"]) == 0
    assert tested == []
    for change in (
        "val:metrics:ssim={type: calculate_ssim, crop_border: 0}",
        "val:metrics:psnr:crop_border=1",
        "val:flip_seq=true",
        "val:compare_bicubic=false",
        "datasets:test:max_frames=1",
    ):
        again[-1] = change
        assert cli.main([*again[:-1], *metrics[:-1], change]) == 1
        assert tested.pop() == "tiny.yml"
    again = ["evaluate", "-opt", "tiny.yml", "--reuse", "--force_yml", *metrics]
    path = two_tests / "results/tiny/visualization/Clips/metrics.json"
    content = path.read_text()
    path.write_text("{")
    assert cli.main(again) == 1
    assert tested.pop() == "tiny.yml"
    path.write_text(content)
    os.utime("net.pth", (1, 1))
    assert cli.main(again) == 1
    assert tested.pop() == "tiny.yml"


def test_what_a_metric_lacks_is_told_before_any_test(two_tests, capsys, monkeypatch, random_trunk):
    def refuse(*args, **kwargs):
        raise OSError("no connection")

    tested = []
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr(evaluate, "run_test", lambda test, assignments: tested.append(test.path))
    lpips = "val:metrics:lpips={type: calculate_lpips, crop_border: 0}"
    assert cli.main(["evaluate", "-opt", "bic.yml", "--force_yml", lpips]) == 1
    assert capsys.readouterr().err.startswith("error: calculate_lpips: no weights of alexnet (no connection); download")
    assert tested == []


@pytest.mark.filterwarnings("ignore:Deformable alignment module is not added")
def test_a_network_of_another_size_than_published_is_told(two_tests, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(BasicVSRPlusPlus, "__init__", BasicVSRPlusPlus.__init__.__wrapped__)
    monkeypatch.setattr(evaluate, "run_test", lambda test, assignments: False)
    plain = (two_tests / "bic.yml").read_text(encoding="utf-8")
    (two_tests / "stock.yml").write_text(plain.replace("type: Bicubic", "type: BasicVSRPlusPlus"), encoding="utf-8")
    assert cli.main(["evaluate", "-opt", "stock.yml"]) == 1
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("stock.yml: BasicVSRPlusPlus has 5,")
    assert "parameters here, as published 7,322,927: it is another network" in first


def test_without_figures_the_files_stay(two_tests, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "run_test", lambda test, assignments: False)
    files = [two_tests / "a.csv", two_tests / "a.md"]
    for file in files:
        file.write_text("good", encoding="utf-8")
    assert cli.main(["evaluate", "-opt", "bic.yml", "--csv", "a.csv", "--markdown", "a.md"]) == 1
    assert [file.read_text(encoding="utf-8") for file in files] == ["good", "good"]
    assert capsys.readouterr() == ("", "failed, so missing above: bic.yml\n")


@pytest.mark.slow
def test_a_test_without_figures(two_tests, capfd):
    """The others' figures are not lost."""
    other = (two_tests / "bic.yml").read_text(encoding="utf-8").replace("name: bic", "name: blind")
    (two_tests / "blind.yml").write_text(
        other.replace("dataroot_gt: gt", "dataroot_gt: null").replace("name: Clips", "name: Blind"), encoding="utf-8"
    )
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
        (["-opt", "bic.yml", "--force_yml", "name=bicubic"], "the name bicubic stands for something else here"),
        (
            ["-opt", "tiny.yml", "y.yml"],
            "tiny.yml and y.yml measure Clips differently (val.metrics, datasets.clips)",
        ),
        (["-opt", "bic.yml", "--force_yml", "path:pretrain_network_g=no.pth"], "path.pretrain_network_g: no such file"),
        (
            [
                "-opt",
                "bic.yml",
                "--force_yml",
                "val:center_frame_only=true",
                "val:metrics:calm={type: calculate_warping_error, crop_border: 0}",
            ],
            "bic.yml with --force_yml: val: metrics.calm compares neighbouring frames, and center_frame_only keeps one",
        ),
    ],
)
def test_errors_are_one_line(two_tests, capsys, arguments, message):
    other = (two_tests / "tiny.yml").read_text().replace("crop_border: 0", "crop_border: 2").replace("tiny", "y")
    (two_tests / "y.yml").write_text(other.replace("dataroot_gt: gt", "dataroot_gt: gt\n    clips: [clip]"))
    assert cli.main(["evaluate", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err
