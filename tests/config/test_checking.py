"""The check of a whole option file: what passes, what is completed, and the message for each fault."""

import copy

import pytest

from vsrm_arch import config
from vsrm_arch.config import OptionError


def change(options, path, value):
    """The options with one key set, or removed where the value is Ellipsis."""
    *sections, key = path.split(":")
    section = options
    for name in sections:
        section = section[name]
    if value is ...:
        del section[key]
    else:
        section[key] = value
    return options


def message_of(options, is_train=True):
    with pytest.raises(OptionError) as error:
        config.check(options, "a.yml", is_train)
    assert "\n" not in str(error.value)
    return str(error.value)


class TestCheck:
    def test_completes_what_the_pipelines_read(self, options):
        checked = config.check(options, "a.yml", True)
        assert checked["logger"] == {"print_freq": 100, "save_checkpoint_freq": 5000, "use_tb_logger": False}
        assert checked["val"]["save_img"] is False
        assert checked["val"]["val_freq"] == 50
        assert "window" not in checked["val"]
        train = checked["datasets"]["train"]
        assert (train["phase"], train["scale"], train["batch_size_per_gpu"]) == ("train", 4, 1)
        assert "~" not in train["dataroot_gt"]

    def test_iterations_as_basicsr_writes_them(self, options):
        options["val"]["val_freq"] = 5e3
        checked = config.check(options, "a.yml", True)["val"]["val_freq"]
        assert checked == 5000
        assert type(checked) is int

    @pytest.mark.parametrize(
        ("path", "value", "expected"),
        [
            ("manual_seed", 1e1, 10),
            ("scale", 4.0, 4),
            ("network_g:dim", 16.0, 16),
            ("network_g:scale", 2.0, 2),
            ("train:total_iter", 1e2, 100),
            ("train:pixel_opt:loss_weight", 2, 2.0),
            ("val:metrics:psnr:crop_border", 4.0, 4),
            ("datasets:train:gt_size", 64.0, 64),
        ],
    )
    def test_numbers_become_what_is_asked_for(self, options, path, value, expected):
        checked = config.check(change(options, path, value), "a.yml", True)
        for key in path.split(":"):
            checked = checked[key]
        assert checked == expected
        assert type(checked) is type(expected)

    def test_the_scale_of_the_datasets(self, options):
        assert type(config.check(options | {"scale": 4.0}, "a.yml", True)["datasets"]["val"]["scale"]) is int

    @pytest.mark.parametrize(
        "path", ["path:pretrain_network_g", "path:resume_state", "network_g:spynet_path", "datasets:val:dataroot_gt"]
    )
    def test_the_home_folder(self, options, path, monkeypatch):
        monkeypatch.setenv("HOME", "/home/me")
        checked = config.check(change(options, path, "~/a/b"), "a.yml", True)
        for key in path.split(":"):
            checked = checked[key]
        assert checked == "/home/me/a/b"

    def test_the_home_folder_in_sections_without_structure(self, stock_options, monkeypatch):
        monkeypatch.setenv("HOME", "/home/me")
        stock_options["datasets"]["train"] |= {"meta_info_file": "~/meta.txt", "dataroot_gt": ["~/a", "b~/"]}
        train = config.check(stock_options, "a.yml", True)["datasets"]["train"]
        assert (train["meta_info_file"], train["dataroot_gt"]) == ("/home/me/meta.txt", ["/home/me/a", "b~/"])

    def test_leaves_its_input_alone(self, options):
        before = copy.deepcopy(options)
        config.check(options, "a.yml", True)
        assert options == before

    def test_stock_classes(self, stock_options):
        checked = config.check(stock_options, "a.yml", True)
        assert checked["network_g"] == stock_options["network_g"]
        assert checked["datasets"]["train"]["scale"] == 4

    def test_for_a_test(self, options):
        options["datasets"] = {"test_1": {"name": "Vid4", "type": "DummyClips"}}
        del options["train"], options["val"]
        checked = config.check(options, "a.yml", False)
        assert checked["val"]["save_img"] is False
        assert checked["datasets"]["test_1"]["phase"] == "test"

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ("names", 1, "a.yml: unknown key 'names'; did you mean 'name'?"),
            ("name", ..., "a.yml: name: missing"),
            ("name", 3, "a.yml: name: expected a string, got 3"),
            ("name", "../../etc", "cannot name a folder below experiments/"),
            ("name", "/etc", "cannot name a folder below experiments/"),
            ("model_type", ..., "a.yml: model_type: missing"),
            (
                "model_type",
                "DumyModel",
                "a.yml: model_type: no model named 'DumyModel' is registered; did you mean 'Dum",
            ),
            ("num_gpu", "all", "a.yml: num_gpu: expected an integer or auto, got 'all'"),
            ("datasets", ..., "a.yml: missing key 'datasets'"),
            ("datasets", {}, "a.yml: datasets: missing section 'train'"),
            ("datasets:train", {"name": "x"}, "a.yml: datasets.train: missing key 'type'"),
            ("datasets:train", [1], "a.yml: datasets.train: expected a section"),
            (
                "datasets:train:type",
                "DummyClip",
                "a.yml: datasets.train.type: no dataset named 'DummyClip' is registered",
            ),
            ("datasets:train:gt_sise", 8, "a.yml: datasets.train: unknown key 'gt_sise'; did you mean 'gt_size'?"),
            ("datasets:train:gt_size", "8", "a.yml: datasets.train.gt_size: expected an integer, got '8'"),
            (
                "datasets:train:persistent_workers",
                True,
                "a.yml: datasets.train.persistent_workers: there are no workers",
            ),
            (
                "datasets:vall",
                {"name": "x", "type": "REDSDataset"},
                "a.yml: datasets.vall: not a phase of this command; d",
            ),
            (
                "datasets:train_2",
                {"name": "x", "type": "DummyClips"},
                "a.yml: datasets.train_2: BasicSR trains from one",
            ),
            ("network_g", ..., "a.yml: missing key 'network_g'"),
            ("network_g", "VSRM", "a.yml: network_g: expected a section"),
            ("network_g:type", ..., "a.yml: network_g: missing key 'type'"),
            (
                "network_g:type",
                "DummyNetwrk",
                "a.yml: network_g.type: no network named 'DummyNetwrk' is registered; did",
            ),
            ("network_g:dims", 8, "a.yml: network_g: unknown key 'dims'; did you mean 'dim'?"),
            ("network_g:dim", "8", "a.yml: network_g.dim: expected an integer, got '8'"),
            ("network_g:scale", 3, "a.yml: network_g.scale: expected one of 2, 4, got 3"),
            ("train", ..., "a.yml: train.total_iter: missing key 'train'"),
            ("train:total_iter", ..., "a.yml: train: missing key 'total_iter'"),
            ("train:total_itr", 3, "a.yml: train: unknown key 'total_itr'; did you mean 'total_iter'?"),
            ("train:pixel_opt:type", "DummyLos", "a.yml: train.pixel_opt.type: no loss named 'DummyLos' is registered"),
            ("train:pixel_opt:weight", 3, "a.yml: train.pixel_opt: unknown key 'weight'; did you mean 'loss_weight'?"),
            ("train:pixel_opt:loss_weight", "x", "a.yml: train.pixel_opt.loss_weight: expected a number, got 'x'"),
            ("val:metrics:psnr:type", "dummy", "a.yml: val.metrics.psnr.type: no metric named 'dummy' is registered"),
            ("val:metrics:psnr:crop_border", ..., "a.yml: val.metrics.psnr: missing key 'crop_border'"),
            ("val:metrics:psnr:crop", 4, "a.yml: val.metrics.psnr: unknown key 'crop'; did you mean 'crop_border'?"),
        ],
    )
    def test_refuses(self, options, path, value, message):
        assert message in message_of(change(options, path, value))

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ("network_g:num_blocks", 8, "a.yml: network_g: unknown key 'num_blocks'; did you mean 'num_block'?"),
            ("train:pixel_opt:weight", 8, "a.yml: train.pixel_opt: unknown key 'weight'"),
            ("num_gpu", ..., "a.yml: num_gpu: missing key 'num_gpu'"),
            ("logger", ..., "a.yml: logger.print_freq: missing key 'logger'"),
            ("logger:use_tb_logger", ..., "a.yml: logger.use_tb_logger: missing key 'use_tb_logger'"),
            ("datasets:train:num_worker_per_gpu", ..., "a.yml: datasets.train: missing key 'num_worker_per_gpu'"),
            ("datasets:train:name", ..., "a.yml: datasets.train: missing key 'name'"),
            ("train", [1], "a.yml: expected a section, got [1] for 'train'"),
            ("val", {"metrics": {}}, "a.yml: val.val_freq: missing key 'val_freq'"),
        ],
    )
    def test_refuses_among_stock_classes(self, stock_options, path, value, message):
        assert message in message_of(change(stock_options, path, value))

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"embed_dim": 15}, "VSRM cannot be built from these values: embed_dim is 15; it must be even"),
            ({"embed_dim": 0}, "VSRM cannot be built from these values: embed_dim is 0; it must be at least 1"),
            ({"d_state": 0}, "VSRM cannot be built from these values: d_state is 0; it must be at least 1"),
            (
                {"checkpoint": ["foo"]},
                "VSRM cannot be built from these values: checkpoint: no branch foo; the branches are backward_1, ",
            ),
            ({"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": "x"}, "EDSR cannot be built from these va"),
            ({"type": "Bicubic", "scale": 0}, "Bicubic cannot be built from these values: scale is 0; it must be at l"),
        ],
    )
    def test_refuses_networks_that_cannot_be_built(self, options, values, message):
        options["network_g"] = {"type": "VSRM", "num_damb": 1, "num_s2tmb": 1} if "type" not in values else {}
        options["network_g"] |= values
        assert f"a.yml: network_g: {message}" in message_of(options)

    def test_refuses_losses_that_cannot_be_built(self, options):
        options["train"]["pixel_opt"] = {"type": "L1Loss", "reduction": "average"}
        assert message_of(options).startswith(
            "a.yml: train.pixel_opt: L1Loss cannot be built from these values: Unsupported reduction mode: average."
        )

    def test_networks_are_tried_without_their_files(self, options, capsys, caplog):
        options["network_g"] = {"type": "BasicVSR", "num_feat": 8, "num_block": 1, "spynet_path": "no.pth"}
        assert config.check(options, "a.yml", True)["network_g"] == options["network_g"]
        options["network_g"] = {"type": "VSRM", "embed_dim": 8, "num_damb": 1, "num_s2tmb": 1}
        config.check(options, "a.yml", True)
        assert not caplog.records
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"test_y_chanel": True}, ": unknown key 'test_y_chanel'; did you mean 'test_y_channel'?"),
            ({"crop_bordr": 0}, ": unknown key 'crop_bordr'; did you mean 'crop_border'?"),
            ({"img2": 0}, ": unknown key 'img2'"),
            ({"crop_border": "abc"}, ".crop_border: expected an integer, got 'abc'"),
            ({"crop_border": ...}, ": missing key 'crop_border' (an integer)"),
            ({"test_y_channel": 1}, ".test_y_channel: expected true or false, got 1"),
            ({"input_order": "CWH"}, ".input_order: expected one of HWC, CHW, got 'CWH'"),
            ({"better": "more"}, ".better: expected one of higher, lower, got 'more'"),
        ],
    )
    @pytest.mark.parametrize("kind", ["calculate_psnr", "calculate_ssim"])
    def test_refuses_misspelt_metrics(self, options, kind, values, message):
        """Their functions end in **kwargs."""
        metric = {"type": kind, "crop_border": 0} | values
        options["val"]["metrics"] = {"mine": {key: value for key, value in metric.items() if value is not ...}}
        assert f"a.yml: val.metrics.mine{message}" in message_of(options)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"type": "calculate_lpips", "net": "vgg16"}, ".net: expected one of alex, vgg, squeeze, got 'vgg16'"),
            ({"type": "calculate_lpips", "better": "higher"}, ".better: expected lower, got 'higher'"),
            ({"type": "calculate_warping_error", "crop": 0}, ": unknown key 'crop'; did you mean 'crop_border'?"),
        ],
    )
    def test_refuses_faults_in_our_metrics(self, options, values, message):
        options["val"]["metrics"] = {"mine": {"crop_border": 0} | values}
        assert f"a.yml: val.metrics.mine{message}" in message_of(options)

    def test_metrics_are_handed_what_the_file_gives(self, options):
        options["val"]["metrics"] = {
            "niqe": {"type": "calculate_niqe", "crop_border": 0, "convert_to": "gray", "better": "lower"}
        }
        assert config.check(options, "a.yml", True)["val"]["metrics"] == options["val"]["metrics"]

    def test_refuses_two_validation_sets_of_one_name(self, options):
        options["datasets"]["val_2"] = dict(options["datasets"]["val"])
        assert message_of(options) == (
            "a.yml: datasets.val_2.name: datasets.val is named 'Held out', too, and their results would overwrite each "
            "other; give it another name"
        )

    def test_refuses_two_test_sets_of_one_name(self, options):
        options["datasets"] = {key: {"name": "Vid4", "type": "DummyClips"} for key in ("test_1", "test_2")}
        assert "a.yml: datasets.test_2.name: datasets.test_1 is named 'Vid4', too" in message_of(
            options, is_train=False
        )

    def test_training_and_validation_may_share_a_name(self, options):
        options["datasets"]["val"]["name"] = options["datasets"]["train"]["name"]
        config.check(options, "a.yml", True)

    def test_refuses_to_test_on_training_data(self, options):
        assert "a.yml: datasets.train: not a phase of this command" in message_of(options, is_train=False)

    def test_refuses_to_test_on_nothing(self, options):
        options["datasets"] = {}
        assert "a.yml: datasets: no section to test on" in message_of(options, is_train=False)


class TestCheckFiles:
    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("network_g:spynet_path", "a.yml: network_g.spynet_path: no such file: no.pth; `basicsr doctor` says more"),
            ("path:pretrain_network_g", "a.yml: path.pretrain_network_g: no such file: no.pth; train it first"),
            ("path:resume_state", "a.yml: path.resume_state: no such file: no.pth"),
        ],
    )
    def test_refuses(self, options, path, message):
        checked = config.check(change(options, path, "no.pth"), "a.yml", True)
        with pytest.raises(OptionError) as error:
            config.check_files(checked, "a.yml")
        assert message in str(error.value)

    def test_accepts_what_is_there(self, options, tmp_path):
        (tmp_path / "net.pth").touch()
        checked = config.check(change(options, "path:pretrain_network_g", str(tmp_path / "net.pth")), "a.yml", True)
        config.check_files(checked, "a.yml")
