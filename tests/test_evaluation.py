"""Results of several tests side by side."""

import json

import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.evaluation import MEAN, Score, read_scores, score_tables, write_scores

CLIP = {"frames": 3, "psnr": 30.0, "ssim": 0.9, "bicubic_psnr": 28.0, "bicubic_ssim": 0.8}
CONTENT = {
    "dataset": "Set",
    "clips": {"b": CLIP, "a": CLIP | {"psnr": "inf"}},
    "mean": {name: value for name, value in CLIP.items() if name != "frames"},
}


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(CONTENT), encoding="utf-8")
    return path


def test_read(results):
    scores = read_scores("net", results)
    assert len(scores) == 3 * 4
    assert scores[0] == Score("net", "Set", "b", "psnr", 30.0)
    assert Score("net", "Set", "a", "psnr", float("inf")) in scores
    assert Score("bicubic", "Set", MEAN, "ssim", 0.8) in scores


def test_tables(results):
    others = [Score("other", "Set", "b", "psnr", 31.0), Score("net", "Two", "c", "lpips", 0.5)]
    scores = [*read_scores("net", results), *others]
    assert score_tables(scores).splitlines() == [
        "| Set: psnr / ssim |          bicubic |              net |       other |",
        "| ---------------- | ---------------: | ---------------: | ----------: |",
        "| b                | 28.0000 / 0.8000 | 30.0000 / 0.9000 | 31.0000 / - |",
        "| a                | 28.0000 / 0.8000 |     inf / 0.9000 |       - / - |",
        "| mean             | 28.0000 / 0.8000 | 30.0000 / 0.9000 |       - / - |",
        "",
        "| Two: lpips |    net |",
        "| ---------- | -----: |",
        "| c          | 0.5000 |",
    ]
    assert score_tables([]) == ""


def test_csv(tmp_path):
    write_scores(tmp_path / "a.csv", [Score("net", "Set, 2", "b", "psnr", 30.25)])
    assert (tmp_path / "a.csv").read_text() == 'network,dataset,clip,metric,value\nnet,"Set, 2",b,psnr,30.25\n'


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"clips": {}, "mean": {"psnr": 1}}', '{"clips": {"a": 1}, "mean": {}}']
)
def test_no_results_file(results, text):
    results.write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json is no results file of basicsr test: run the test again"):
        read_scores("net", results)


def test_gone(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*: No such file or directory; run the test again"):
        read_scores("net", tmp_path / "metrics.json")
