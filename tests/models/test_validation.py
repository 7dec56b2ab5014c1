import json
import logging
import math
import re
import sys
from typing import ClassVar

import cv2
import numpy as np
import pytest
import tiny
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img
from torch.utils.data import DataLoader

from vsrm_arch.archs import Bicubic
from vsrm_arch.errors import UserError
from vsrm_arch.inference import super_resolve
from vsrm_arch.metrics import calculate_lpips, calculate_warping_error
from vsrm_arch.models import load_resume_state
from vsrm_arch.models.results import read_best
from vsrm_arch.models.validation import Validation

PSNR = {"psnr": {"type": "calculate_psnr", "crop_border": 0}}


def loader(name="val", **opt):
    return DataLoader(tiny.TinyClips({"name": name, "scale": 2, "num_clips": 3, "offset": 100} | opt))


def read_metrics(model, name="val"):
    return json.loads((model._validation.folder / name / "metrics.json").read_text())


def train(model, first, last):
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
        model.feed_data(tiny.batch(0, 1))
        model.optimize_parameters(iteration)


def psnr_of(network, item, frames=slice(None)):
    with torch.no_grad():
        output = network(item["lq"].unsqueeze(0))[0][frames]
    truth = item["gt"][frames] if item["gt"].ndim == 4 else item["gt"].unsqueeze(0)
    pairs = zip(output, truth, strict=True)
    return float(np.mean([calculate_psnr(tensor2img(ours), tensor2img(gt), crop_border=0) for ours, gt in pairs]))


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


@pytest.fixture
def log():
    """BasicSR's logger keeps its records to itself."""
    logger, handler = logging.getLogger("basicsr.vsrm_arch"), Records()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.texts
    logger.removeHandler(handler)
    logger.setLevel(level)


class TestScores:
    def test_means_over_frames_and_clips_by_hand(self, build):
        model = build(is_train=False)
        data = loader()
        model.validation(data, "tiny", None, save_img=False)
        metrics = read_metrics(model)
        by_hand = {item["folder"]: psnr_of(model.net_g, item) for item in (data.dataset[i] for i in range(3))}
        assert {clip: values["psnr"] for clip, values in metrics["clips"].items()} == pytest.approx(by_hand)
        assert metrics["mean"]["psnr"] == pytest.approx(sum(by_hand.values()) / 3)
        assert metrics["iteration"] == "tiny"
        assert metrics["clips"]["100"]["frames"] == 3

    def test_items_of_one_folder_are_averaged_together(self, build, monkeypatch):
        """As the stock models do for single frames of a clip, and for Vimeo-90K, which has one folder."""
        item = tiny.TinyClips.__getitem__
        folders = ["a", "a", "b"]
        monkeypatch.setattr(tiny.TinyClips, "__getitem__", lambda self, i: item(self, i) | {"folder": folders[i]})
        model = build(is_train=False)
        data = loader(gt="center")
        model.validation(data, "tiny", None)
        first, second, third = (psnr_of(model.net_g, data.dataset[i], slice(1, 2)) for i in range(3))
        assert read_metrics(model)["clips"]["a"] == pytest.approx({"frames": 2, "psnr": (first + second) / 2})
        assert read_metrics(model)["mean"]["psnr"] == pytest.approx(((first + second) / 2 + third) / 2)

    @pytest.mark.parametrize("gt", ["clip", "center"])
    def test_center_frame_only(self, build, gt):
        model = build(is_train=False, val={"center_frame_only": True})
        data = loader(gt=gt, num_clips=1)
        model.validation(data, "tiny", None)
        assert read_metrics(model)["mean"]["psnr"] == pytest.approx(psnr_of(model.net_g, data.dataset[0], slice(1, 2)))
        assert read_metrics(model)["clips"]["100"]["frames"] == 1

    def test_averaged_weights_are_validated(self, build):
        model = build()
        train(model, 1, 2)
        data = loader(num_clips=1)
        model.validation(data, 2, None)
        averaged, trained = (psnr_of(net, data.dataset[0]) for net in (model.net_g_ema, model.net_g))
        assert read_metrics(model)["mean"]["psnr"] == pytest.approx(averaged)
        assert averaged != pytest.approx(trained)
        assert model.net_g.training
        assert not model.net_g_ema.training

    def test_trained_weights_where_none_are_averaged(self, build):
        model = build(train={"ema_decay": 0})
        train(model, 1, 1)
        calls = model.net_g.calls.item()
        model.validation(loader(), 1, None)
        assert model.net_g.calls.item() == calls
        assert model.net_g.training

    def test_flip_seq_averages_with_the_mirror(self, build):
        model = build(is_train=False, val={"flip_seq": True})
        model.net_g.forward = lambda lq: torch.nn.functional.interpolate(lq.cumsum(1), scale_factor=(1, 1, 1))
        model.opt["scale"] = 1
        lq = torch.rand(1, 3, 3, 8, 8)
        both = torch.cat([lq, lq.flip(1)], dim=1).cumsum(1)
        torch.testing.assert_close(model.enlarge(lq), 0.5 * (both[:, :3] + both[:, 3:].flip(1)))

    @pytest.mark.parametrize(
        ("val", "arguments"),
        [
            ({"window": {"num_frame": 2, "overlap": 1}}, {"window": 2, "window_overlap": 1}),
            ({"tile": {"size": 6, "overlap": 4}}, {"tile": 6, "tile_overlap": 4}),
        ],
    )
    def test_windows_and_tiles(self, build, val, arguments):
        model, sizes = build(is_train=False, val=val), set()
        model.net_g.register_forward_pre_hook(lambda _, inputs: sizes.add(tuple(inputs[0].shape)))
        lq = torch.rand(1, 5, 3, 16, 16)
        output = model.enlarge(lq)
        assert sizes == {(1, 2, 3, 16, 16) if "window" in val else (1, 5, 3, 6, 6)}
        assert torch.equal(output, super_resolve(model.net_g, lq, scale=2, **arguments))

    def test_bicubic_beside_the_network(self, build, log):
        model = build(is_train=False, val={"compare_bicubic": True}, network_g={"type": "Bicubic", "scale": 2})
        model.validation(loader(), "tiny", None)
        mean = read_metrics(model)["mean"]
        assert mean["bicubic_psnr"] == mean["psnr"]
        assert re.search(r"# psnr: (\S+) \(bicubic \1\)\t # 100: (\S+) \(bicubic \2\)", log[-1])

    def test_perfect_frames_have_an_infinite_score(self, build, monkeypatch):
        item = tiny.TinyClips.__getitem__

        def enlarged(self, index):
            frames = item(self, index)["lq"]
            return {"lq": frames, "gt": torch.nn.functional.interpolate(frames, scale_factor=2), "folder": "a"}

        monkeypatch.setattr(tiny.TinyClips, "__getitem__", enlarged)
        model = build(train={"ema_decay": 0})
        torch.nn.init.zeros_(model.net_g.last.weight)
        torch.nn.init.zeros_(model.net_g.last.bias)
        model.validation(loader(num_clips=1), 0, None)
        assert read_metrics(model)["mean"]["psnr"] == "inf"
        assert math.isinf(model.best_metric_results["val"]["psnr"]["val"])
        assert math.isinf(read_best(model._validation.folder / "val/metrics.json")["psnr"]["val"])


class TestClipMetrics:
    """They are handed whole clips, and give a value for each pair of neighbouring frames."""

    METRICS: ClassVar = {"calm": {"type": "calculate_warping_error", "crop_border": 1}, **PSNR}

    def by_hand(self, network, item):
        with torch.no_grad():
            output = network(item["lq"].unsqueeze(0))[0]
        return calculate_warping_error(*([tensor2img(frame) for frame in frames] for frames in (output, item["gt"])), 1)

    def test_beside_others(self, build, log):
        model = build(is_train=False, val={"metrics": self.METRICS, "compare_bicubic": True})
        data = loader()
        model.validation(data, "tiny", None)
        metrics = read_metrics(model)
        for item in (data.dataset[i] for i in range(3)):
            clip = metrics["clips"][item["folder"]]
            assert clip["calm"] == pytest.approx(np.mean(self.by_hand(model.net_g, item)))
            assert clip["bicubic_calm"] == pytest.approx(np.mean(self.by_hand(Bicubic(2), item)))
            assert clip["psnr"] == pytest.approx(psnr_of(model.net_g, item))
            assert clip["frames"] == 3
        # In the order of the option file.
        assert list(metrics["mean"]) == ["calm", "psnr", "bicubic_calm", "bicubic_psnr"]
        assert metrics["mean"]["calm"] == pytest.approx(np.mean([clip["calm"] for clip in metrics["clips"].values()]))
        assert log[-1].index("# calm: ") < log[-1].index("# psnr: ")

    def test_items_of_one_folder(self, build, monkeypatch):
        """Neighbours are those of an item; the folder's value is the mean over the pairs of all of them."""
        item = tiny.TinyClips.__getitem__
        monkeypatch.setattr(tiny.TinyClips, "__getitem__", lambda self, i: item(self, i) | {"folder": "a"})
        model = build(is_train=False, val={"metrics": self.METRICS})
        data = loader()
        model.validation(data, "tiny", None)
        pairs = [value for i in range(3) for value in self.by_hand(model.net_g, data.dataset[i])]
        assert len(pairs) == 6
        assert read_metrics(model)["clips"]["a"]["calm"] == pytest.approx(np.mean(pairs))
        assert read_metrics(model)["clips"]["a"]["frames"] == 9

    def test_lower_is_better_unasked(self, build):
        model = build(val={"metrics": self.METRICS})
        seen = []
        for iteration in (1, 2, 3):
            train(model, iteration, iteration)
            model.validation(loader(), iteration, None)
            seen.append(read_metrics(model)["mean"]["calm"])
        best = model.best_metric_results["val"]
        assert best["calm"]["val"] == min(seen)
        assert (best["calm"]["better"], best["psnr"]["better"]) == ("lower", "higher")

    def test_center_frames_are_refused_at_once(self, build):
        message = (
            "val: metrics.calm compares neighbouring frames, and center_frame_only keeps one of each clip; leave one "
            "of the two out"
        )
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            build(is_train=False, val={"metrics": self.METRICS, "center_frame_only": True})

    @pytest.mark.parametrize(
        "opt", [{"gt": "center"}, {"num_frame": 1}], ids=["truth of one frame", "clip of one frame"]
    )
    def test_single_frames_are_refused(self, build, opt):
        model = build(is_train=False, val={"metrics": self.METRICS})
        message = (
            "datasets: val, clip 100: one frame of it is compared with the ground truth, and val.metrics.calm compares "
            "neighbouring ones; leave that metric out, or the clip"
        )
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            model.validation(loader(**opt), "tiny", None)

    def test_without_ground_truth_single_frames_are_welcome(self, build):
        model = build(is_train=False, val={"metrics": self.METRICS})
        model.validation(loader(gt="none", num_frame=1), "tiny", None, save_img=True)


class TestLpips:
    METRICS: ClassVar = {"lpips": {"type": "calculate_lpips", "crop_border": 0}}

    def test_values(self, build, random_trunk):
        random_trunk("alexnet")
        model = build(is_train=False, val={"metrics": self.METRICS})
        data = loader(num_clips=1, size=16)
        model.validation(data, "tiny", None)
        item = data.dataset[0]
        with torch.no_grad():
            output = model.net_g(item["lq"].unsqueeze(0))[0]
        values = [calculate_lpips(tensor2img(a), tensor2img(b), 0) for a, b in zip(output, item["gt"], strict=True)]
        assert read_metrics(model)["mean"]["lpips"] == pytest.approx(np.mean(values))

    def test_what_is_missing_is_told_before_anything_has_run(self, build, random_trunk, monkeypatch):
        monkeypatch.setitem(sys.modules, "lpips", None)
        with pytest.raises(UserError, match="calculate_lpips needs the package lpips"):
            build(val={"metrics": self.METRICS})


class TestBest:
    def test_best_weights_are_kept(self, build, tmp_path):
        model = build()
        data = loader()
        values = {}
        for iteration in (2, 4, 6):
            train(model, iteration - 1, iteration)
            model.validation(data, iteration, None)
            values[iteration] = read_metrics(model)["mean"]["psnr"]
        chosen = max(values, key=values.get)
        assert model.best_metric_results["val"]["psnr"] == {"better": "higher", "val": values[chosen], "iter": chosen}
        best = torch.load(tmp_path / "experiments/tiny/models/net_g_best.pth", weights_only=True)
        assert best["metadata"]["iteration"] == chosen
        assert [entry["iteration"] for entry in read_metrics(model)["history"]] == [2, 4, 6]

    def test_lower_may_be_better(self, build):
        model = build(val={"metrics": {"psnr": PSNR["psnr"] | {"better": "lower"}}})
        seen = []
        for iteration in (1, 2, 3):
            train(model, iteration, iteration)
            model.validation(loader(), iteration, None)
            seen.append(read_metrics(model)["mean"]["psnr"])
        assert model.best_metric_results["val"]["psnr"]["val"] == min(seen)

    def test_best_outlives_a_stop_after_the_validation(self, build, tmp_path):
        """The checkpoint of an iteration is written before its validation, and knows nothing of it."""
        model = build()
        train(model, 1, 2)
        model.save(0, 2)
        model.validation(loader(), 2, None)
        opt = tiny.model_options(tmp_path) | {"auto_resume": True}
        state = load_resume_state(opt)
        assert state["best_metrics"] == {}
        resumed = build()
        resumed.resume_training(state)
        assert resumed.best_metric_results == model.best_metric_results
        with torch.no_grad():
            resumed.net_g_ema.last.weight.fill_(10.0)
        train(resumed, 3, 3)
        resumed.validation(loader(), 3, None)
        assert resumed.best_metric_results == model.best_metric_results
        best = torch.load(tmp_path / "experiments/tiny/models/net_g_best.pth", weights_only=True)
        assert best["metadata"]["iteration"] == 2

    def test_the_first_set_decides_which_weights_are_best(self, build, tmp_path):
        model = build()
        train(model, 1, 1)
        model.validation(loader("other"), 1, None)
        assert not (tmp_path / "experiments/tiny/models/net_g_best.pth").exists()
        model.validation(loader("val"), 1, None)
        assert (tmp_path / "experiments/tiny/models/net_g_best.pth").exists()

    def test_a_test_keeps_no_best(self, build, log):
        model = build(is_train=False)
        model.validation(loader(), "tiny", None)
        assert model.best_metric_results == {}
        assert "Best" not in log[-1]


def test_validation_after_the_last_iteration_is_not_repeated(build, log, monkeypatch):
    """BasicSR's pipeline validates once more at the end, with the iteration one too high."""
    model, data, other = build(), loader(), loader("other")
    train(model, 1, 8)
    model.validation(data, 8, None)
    runs = []
    run = Validation.run
    monkeypatch.setattr(Validation, "run", lambda self, *arguments: runs.append(1) or run(self, *arguments))
    model.validation(data, 9, None)
    assert not runs
    assert log[-1] == "Validation val: these weights have just been validated."
    model.validation(other, 9, None)
    assert runs == [1]
    assert read_metrics(model, "other")["iteration"] == 8


def test_several_sets_keep_their_own_scores(build):
    model = build()
    train(model, 1, 1)
    for name, offset in (("first", 100), ("second", 200)):
        model.validation(loader(name, offset=offset), 1, None)
    assert read_metrics(model, "first")["clips"].keys() == {"100", "101", "102"}
    assert read_metrics(model, "second")["clips"].keys() == {"200", "201", "202"}
    assert list(model.best_metric_results) == ["first", "second"]


def test_log_and_tensorboard(build, log):
    class Writer:
        values: dict = {}  # noqa: RUF012

        def add_scalar(self, name, value, iteration):
            self.values[name, iteration] = value

    model = build()
    train(model, 1, 4)
    model.validation(loader(), 4, Writer())
    metrics = read_metrics(model)
    mean = metrics["mean"]["psnr"]
    assert Writer.values["metrics/val/psnr", 4] == mean
    assert Writer.values["metrics/val/psnr/101", 4] == metrics["clips"]["101"]["psnr"]
    assert log[-1].startswith(f"Validation val\n\t # psnr: {mean:.4f}\t # 100: ")
    assert f"Best: {mean:.4f} @ 4 iter" in log[-1]


def test_clips_of_a_large_set_are_not_logged(build, log):
    model = build(is_train=False)
    model.validation(loader(num_clips=21, num_frame=1, size=4), "tiny", None)
    assert "# 100" not in log[-1]
    assert len(read_metrics(model)["clips"]) == 21


class TestPictures:
    def files(self, model):
        folder = model._validation.folder
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))

    def test_names_in_training(self, build):
        model = build()
        train(model, 1, 2)
        model.validation(loader(num_clips=1), 2, None, save_img=True)
        assert self.files(model) == [f"val/100/{i:08d}_2.png" for i in range(3)]

    def test_names_in_a_test(self, build):
        model = build(is_train=False)
        model.validation(loader(num_clips=1), "tiny", None, save_img=True)
        assert self.files(model) == [f"val/100/{i:08d}_tiny.png" for i in range(3)]

    def test_names_of_center_frames(self, build):
        model = build(is_train=False, val={"center_frame_only": True, "suffix": "x"})
        model.validation(loader(num_clips=2), "tiny", None, save_img=True)
        assert self.files(model) == ["val/100/00100_0001_x.png", "val/101/00101_0001_x.png"]

    @pytest.mark.parametrize(("name", "stem"), [("Vid4", "im4"), ("Vimeo90K", "00100_0001_im4")])
    def test_names_of_single_frames(self, build, name, stem):
        model = build(is_train=False)
        model.validation(loader(name, num_clips=1, gt="center"), "tiny", None, save_img=True)
        assert self.files(model) == [f"{name}/100/{stem}_tiny.png"]

    def test_pixels(self, build):
        model = build(is_train=False)
        data = loader(num_clips=1)
        model.validation(data, "tiny", None, save_img=True)
        with torch.no_grad():
            output = model.net_g(data.dataset[0]["lq"].unsqueeze(0))[0, 1]
        saved = cv2.imread(str(model._validation.folder / "val/100/00000001_tiny.png"))
        assert np.array_equal(saved, tensor2img(output))

    def test_without_ground_truth_pictures_only(self, build, log):
        model = build(is_train=False)
        model.validation(loader(gt="none"), "tiny", None, save_img=True)
        assert len(self.files(model)) == 9
        assert log[-1] == "Validation val: no ground truth or no val.metrics, so no scores."
        assert not (model._validation.folder / "val/metrics.json").exists()

    def test_comparison(self, build):
        model = build(is_train=False, val={"save_comparison": True, "comparison_frame": 2})
        data = loader(num_clips=1, size=64)
        model.validation(data, "tiny", None)
        assert self.files(model) == ["val/100/comparison_tiny.png"]
        picture = cv2.imread(str(model._validation.folder / "val/100/comparison_tiny.png"))
        assert picture.shape == (128 + 20, 3 * 128 + 2 * 4, 3)
        assert np.array_equal(picture[20:, -128:], tensor2img(data.dataset[0]["gt"][2]))
        with torch.no_grad():
            output = model.net_g(data.dataset[0]["lq"].unsqueeze(0))[0, 2]
        assert np.array_equal(picture[20:, 132:260], tensor2img(output))
        assert picture[:20].min() < 128  # the captions are there

    def test_comparison_without_truth(self, build):
        model = build(is_train=False, val={"save_comparison": True})
        model.validation(loader(num_clips=1, gt="none"), "tiny", None)
        picture = cv2.imread(str(model._validation.folder / "val/100/comparison_tiny.png"))
        assert picture.shape == (16 + 20, 2 * 16 + 4, 3)

    def test_folder_that_cannot_be_written(self, build):
        model = build(is_train=False)
        (model._validation.folder / "val").write_text("a file in the way")
        with pytest.raises(UserError, match=r"cannot write .*val/100/00000000_tiny.png: "):
            model.validation(loader(), "tiny", None, save_img=True)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (3, 3, 15, 16),
            "val, clip a: the ground truth has 3 frames of 15x16, the input enlarged x2 has 3 frames of 16x16",
        ),
        ((2, 3, 16, 16), "val, clip a: the ground truth has 2 frames of 16x16"),
    ],
)
def test_ground_truth_that_does_not_fit(build, monkeypatch, shape, message):
    item = {"lq": torch.rand(3, 3, 8, 8), "gt": torch.rand(shape), "folder": "a"}
    monkeypatch.setattr(tiny.TinyClips, "__getitem__", lambda self, index: item)
    with pytest.raises(UserError, match=re.escape(message)):
        build(is_train=False).validation(loader(), "tiny", None)


def test_an_output_that_is_not_finite(build):
    """It would become grey pixels and a score."""
    model = build(is_train=False)
    with torch.no_grad():
        next(model.net_g.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match=r"val, clip .*: the network's output is not finite, first in frame 0; set"):
        model.validation(loader(), "tiny", None)


def test_single_images_are_refused(build, monkeypatch):
    monkeypatch.setattr(tiny.TinyClips, "__getitem__", lambda self, index: {"lq": torch.rand(3, 8, 8)})
    with pytest.raises(UserError, match=re.escape("val gives inputs of shape (3, 8, 8); RecurrentVSRModel validates")):
        build(is_train=False).validation(loader(), "tiny", None)


class TestDatasets:
    """Frames on disk, through the dataset classes that the option files name."""

    @pytest.fixture
    def roots(self, tmp_path):
        for clip in ("00001/0266", "00002/0001"):
            for i in range(1, 8):
                image = np.random.default_rng(i).integers(0, 255, (16, 20, 3), dtype=np.uint8)
                for name, scaled in (("gt", image), ("lq", image[::2, ::2])):
                    (tmp_path / name / clip).mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(tmp_path / name / clip / f"im{i}.png"), scaled)
        (tmp_path / "meta.txt").write_text("00001/0266 7 (256,448,3)\n00002/0001 7 (256,448,3)\n")
        return tmp_path

    def options(self, roots, dataset_type, **options):
        paths = {"dataroot_gt": f"{roots}/gt", "dataroot_lq": f"{roots}/lq"}
        return paths | {"type": dataset_type, "io_backend": {"type": "disk"}, "phase": "test", "scale": 2} | options

    def validate(self, build, options, **val):
        model = build(is_train=False, val=val)
        dataset = build_dataset(options)
        model.validation(build_dataloader(dataset, options, num_gpu=0), "tiny", None, save_img=True)
        pictures = model._validation.folder / options["name"]
        return read_metrics(model, options["name"]), sorted(
            str(p.relative_to(pictures)) for p in pictures.rglob("*.png")
        )

    def test_video_recurrent_test_dataset(self, build, roots):
        more = {"name": "REDS4", "cache_data": True, "num_frame": 3, "padding": "reflection"}
        options = self.options(roots, "VideoRecurrentTestDataset", **more)
        options |= {"dataroot_gt": f"{roots}/gt/00001", "dataroot_lq": f"{roots}/lq/00001"}
        metrics, pictures = self.validate(build, options)
        assert metrics["clips"]["0266"]["frames"] == 7
        assert pictures == [f"0266/{i:08d}_tiny.png" for i in range(7)]
        # The dataset hands out its cached frames.
        assert self.validate(build, options)[0]["clips"]["0266"]["frames"] == 7

    def test_video_test_vimeo90k_dataset(self, build, roots):
        more = {"name": "Vimeo90K", "cache_data": False, "num_frame": 7, "meta_info_file": f"{roots}/meta.txt"}
        options = self.options(roots, "VideoTestVimeo90KDataset", **more)
        metrics, pictures = self.validate(build, options, center_frame_only=True, flip_seq=True)
        assert metrics["clips"]["vimeo90k"]["frames"] == 2
        assert pictures == ["vimeo90k/00001_0266_tiny.png", "vimeo90k/00002_0001_tiny.png"]

    def test_video_test_dataset(self, build, roots):
        more = {"name": "Vid4", "cache_data": True, "num_frame": 3, "padding": "reflection"}
        options = self.options(roots, "VideoTestDataset", **more)
        options |= {"dataroot_gt": f"{roots}/gt/00001", "dataroot_lq": f"{roots}/lq/00001"}
        metrics, pictures = self.validate(build, options)
        assert metrics["clips"]["0266"]["frames"] == 7
        assert pictures == [f"0266/im{i}_tiny.png" for i in range(1, 8)]

    def test_video_clip_dataset(self, build, roots):
        metrics, pictures = self.validate(build, self.options(roots, "VideoClipDataset", name="clips"))
        assert {clip: values["frames"] for clip, values in metrics["clips"].items()} == {
            "00001/0266": 7,
            "00002/0001": 7,
        }
        assert len(pictures) == 14
        assert pictures[0] == "00001/0266/00000000_tiny.png"

    def test_video_clip_dataset_without_truth(self, build, roots):
        options = self.options(roots, "VideoClipDataset", name="clips", dataroot_gt=None)
        model = build(is_train=False)
        model.validation(DataLoader(build_dataset(options)), "tiny", None, save_img=True)
        assert len(list((model._validation.folder / "clips").rglob("*.png"))) == 14


class TestStockNetworks:
    def test_basicvsrpp_takes_small_frames_on_a_cpu(self, build):
        network = {"type": "BasicVSRPlusPlus", "mid_channels": 16, "num_blocks": 1}
        model = build(is_train=False, scale=4, network_g=network)
        data = DataLoader(tiny.TinyClips({"name": "val", "scale": 4, "num_clips": 1, "num_frame": 2, "size": 10}))
        model.validation(data, "tiny", None)
        assert read_metrics(model)["clips"]["000"]["frames"] == 2
