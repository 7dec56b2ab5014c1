"""Every option file that ships: it is read strictly, builds, is commented, and holds the settings it stands for."""

import copy
import re
from functools import cache
from pathlib import Path
from typing import ClassVar

import option_reference
import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

from vsrm_arch import config
from vsrm_arch.config import OptionError
from vsrm_arch.config.yaml_file import OptionLoader

ROOT = Path(__file__).parents[1]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "options").rglob("*.yml"))
PUBLISHED = (
    "train_{}_REDS",
    "train_{}_REDS_N6",
    "train_{}_Vimeo90K",
    "test_{}_REDS4",
    "test_{}_Vid4",
    "test_{}_Vimeo90K",
)
NETWORKS = ("VSRM", "BasicVSRPP", "IART", "PSRT")
# What each network adds to the options of a file, and what the authors of BasicVSR++ publish otherwise.
NETWORK_KEYS = {"name", "network_g"}
TRAINING_KEYS = {
    "train.ema_decay",
    "train.amp",
    "train.grad_clip",
    "train.flow_lr_mul",
    "train.optim_g.lr",
    "train.pixel_opt.eps",
    "train.frequency_opt",
}
# What VSRM adds to the settings of its lineage.
LINEAGE_KEYS = {"train.amp", "train.grad_clip", "train.pixel_opt.eps", "train.frequency_opt"}
OWN_KEYS = {
    "train_{}_REDS": {"datasets.train.num_frame"},
    "train_{}_Vimeo90K": {"datasets.train.batch_size_per_gpu", "path.pretrain_network_g"},
    "test_{}_REDS4": {"path.pretrain_network_g"},
    "test_{}_Vid4": {"path.pretrain_network_g"},
    "test_{}_Vimeo90K": {"path.pretrain_network_g"},
}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    """Where the paths in option files lead from."""
    monkeypatch.chdir(ROOT)


def is_train(file):
    return Path(file).name.startswith("train_")


@cache
def read_once(file, assignments):
    return config.read_options(str(ROOT / file), assignments, is_train(file))


def read(file, *assignments):
    """The options of a file that ships; the caller may change them."""
    return copy.deepcopy(read_once(file, assignments))


def network_options(file):
    """``network_g`` without the flow weights, a file that users download."""
    options = read(file)["network_g"]
    return options | ({"spynet_path": None} if "spynet_path" in options else {})


def sections(options, path=()):
    """Every section of an option file, as the path of its keys."""
    yield path
    for key, value in options.items():
        if isinstance(value, dict):
            yield from sections(value, (*path, key))


def flat(options, prefix=""):
    """Section.key → value, a network as a whole."""
    result = {}
    for key, value in options.items():
        name = f"{prefix}{key}"
        whole = name in ("network_g", "train.frequency_opt") or not isinstance(value, dict)
        result |= {name: value} if whole else flat(value, f"{name}.")
    return result


def test_the_published_settings_ship():
    names = {f"options/{name.format(network)}.yml" for name in PUBLISHED for network in NETWORKS}
    sample = {"options/sample/train_VSRM_sample.yml", "options/sample/test_VSRM_sample.yml"}
    assert names | sample <= set(FILES)


@pytest.mark.parametrize("file", FILES)
class TestEveryFile:
    def test_is_read_and_its_classes_are_strict(self, file):
        options = read(file)
        assert hasattr(MODEL_REGISTRY.get(options["model_type"]), "Options")
        for section in options["datasets"].values():
            assert hasattr(DATASET_REGISTRY.get(section["type"]), "Options")

    def test_its_network_has_the_parameters_of_its_header(self, file):
        header = re.search(r"Parameters: ([\d,]+)\.", (ROOT / file).read_text(encoding="utf-8").splitlines()[0])
        assert header, f"{file} does not begin with '# ... Parameters: N.'"
        with torch.device("meta"):
            network = build_network(network_options(file))
        assert sum(p.numel() for p in network.parameters()) == int(header[1].replace(",", ""))

    def test_its_losses_build(self, file):
        train = read(file).get("train") or {}
        losses = [build_loss(section) for key, section in train.items() if key.endswith("_opt") and section]
        assert bool(losses) is is_train(file)

    def test_a_misspelt_key_of_any_section_is_found(self, file):
        plain = config.load_yaml(file)
        # They hold names of one's own.
        free = (("datasets",), ("val", "metrics"))
        # What a file extends is a file here, too.
        own = yaml.load((ROOT / file).read_text(encoding="utf-8"), Loader=OptionLoader)
        for path in sections(own):
            if path in free:
                continue
            options = copy.deepcopy(plain)
            section = options
            for key in path:
                section = section[key]
            section["misspelt"] = 1
            with pytest.raises(OptionError, match="misspelt"):
                config.check(options, file, is_train(file))

    def test_every_key_has_a_comment(self, file):
        assert list(uncommented((ROOT / file).read_text(encoding="utf-8"))) == []

    def test_no_line_is_longer_than_the_code(self, file):
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if len(line) > 120 or line != line.rstrip()] == []


def uncommented(text):
    """Keys with a value, without a comment at their line's end or on the line above; section.key."""
    path, above = [], ""
    for line in text.splitlines():
        key = re.match(r"( *)(\w+):( *[^ #].*)?", line)
        if key:
            path = [*path[: len(key[1]) // 2], key[2]]
            commented = " # " in line or above.lstrip().startswith("#")
            if key[3] and not commented:
                yield ".".join(path)
        above = line


def test_a_key_without_a_comment_is_seen():
    text = "a: 1\n# about b\nb: 2\nc:\n  d: 3  # about d\n  e: 4\n"
    assert list(uncommented(text)) == ["a", "c.e"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_pairs_differ_in_the_network_and_its_published_settings_alone(name):
    ours, theirs = (flat(read(f"options/{name.format(network)}.yml")) for network in ("VSRM", "BasicVSRPP"))
    differing = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    allowed = NETWORK_KEYS | OWN_KEYS.get(name, set()) | (TRAINING_KEYS if is_train(name) else set())
    assert differing == allowed


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("network", ["IART", "PSRT"])
def test_the_lineage_differs_in_the_network_and_what_vsrm_adds_alone(name, network):
    ours, theirs = (flat(read(f"options/{name.format(each)}.yml")) for each in ("VSRM", network))
    differing = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    own = {"path.pretrain_network_g"} & OWN_KEYS.get(name, set())
    assert differing == NETWORK_KEYS | own | (LINEAGE_KEYS if is_train(name) else set())


def test_the_example_of_another_network_alone(tmp_path):
    """That of options/README.md: VSRM's training with IART's network, and with PSRT-recurrent's."""
    page = (ROOT / "options/README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"### The network alone\n.*?```yaml\n(.*?)```", page, re.DOTALL)
    assert len(example.splitlines()) == 6
    ours, iart, psrt = (read(f"options/train_{name}_REDS_N6.yml") for name in ("VSRM", "IART", "PSRT"))
    for theirs in (iart, psrt):
        file = tmp_path / "train_example.yml"
        file.write_text(example.replace("type: IART", f"type: {theirs['network_g']['type']}"), encoding="utf-8")
        options = config.read_options(str(file), (), is_train=True)
        differing = {key for key in flat(ours) if flat(options).get(key) != flat(ours)[key]}
        assert differing == NETWORK_KEYS
        # Its other arguments are the published network's by default.
        networks = [build_network({**each["network_g"], "spynet_path": None}) for each in (options, theirs)]
        assert str(networks[0]) == str(networks[1])
        assert options["network_g"]["checkpoint"] == theirs["network_g"]["checkpoint"]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "train_{}_REDS_N6"])
def test_edvr_differs_in_the_network_and_its_published_settings_alone(name):
    ours, theirs = (flat(read(f"options/{name.format(each)}.yml")) for each in ("VSRM", "EDVR"))
    differing = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    allowed = NETWORK_KEYS | {"path.pretrain_network_g"}
    if is_train(name):
        allowed |= TRAINING_KEYS | {"train.fix_flow", "train.pixel_opt.reduction", "datasets.train.mirror"}
        allowed |= {"train.scheduler.periods", "train.scheduler.restart_weights"}
        allowed |= {"datasets.train.num_frame", "datasets.train.batch_size_per_gpu"}
    assert differing <= allowed


@pytest.mark.parametrize("file", [f for f in FILES if not is_train(f)])
def test_a_test_file_fits_the_weights_it_names(file):
    """The experiment that it tests is one of the shipped trainings, and the network is that training's."""
    experiment = Path(read(file)["path"]["pretrain_network_g"]).parts[1]
    trainings = {read(f)["name"]: f for f in FILES if is_train(f)}
    assert experiment in trainings
    tested, trained = ({**network_options(f)} for f in (file, trainings[experiment]))
    for shape in (tested, trained):  # neither changes the weights' shapes
        shape.pop("checkpoint", None)
        shape.pop("spynet_path", None)
    assert tested == trained


def test_training_on_vimeo90k_starts_from_the_reds_weights():
    for network in NETWORKS:
        vimeo, reds = (read(f"options/train_{network}_{data}.yml") for data in ("Vimeo90K", "REDS"))
        assert vimeo["path"]["pretrain_network_g"] == f"experiments/{reds['name']}/models/net_g_latest.pth"
        assert vimeo["network_g"] == reds["network_g"]


class TestAblations:
    """The rows of the paper's Tables 3 to 7 differ from its model in what they are about, and in nothing else."""

    ROWS: ClassVar = {
        "table3_dwconv": "network_g.mixer",
        "table3_attention": "network_g.mixer",
        "table3_window_attention": "network_g.mixer",
        "table4_none": "network_g.alignment",
        "table4_fgda": "network_g.alignment",
        "table4_implicit": "network_g.alignment",
        "table5_none": "network_g.t2smb",
        "table5_both": "network_g.t2smb",
        "table6_ffn": "network_g.ffn",
        "table6_no_dwconv": "network_g.ffn",
        "table6_no_split": "network_g.ffn",
        "table7_ffl": "train.frequency_opt",
        "table7_fsl": "train.frequency_opt",
        "table7_whfl": "train.frequency_opt",
        "table7_fcl_0": "train.frequency_opt",
        "table7_fcl_0.2": "train.frequency_opt",
    }
    # What follows from a row: the heads of attention, the flow network that rests without alignment.
    CONSEQUENCES: ClassVar = {"name", "network_g.num_heads", "find_unused_parameters"}

    @staticmethod
    def options(name):
        options = flat(config.load_yaml(f"options/ablation/train_{name}.yml"))
        return options | {f"network_g.{key}": value for key, value in options.pop("network_g").items()}

    def test_all_of_them_ship(self):
        files = {Path(file).name for file in FILES if Path(file).parent.name == "ablation"}
        assert files == {f"{phase}_{name}.yml" for phase in ("train", "test") for name in ("ours", *self.ROWS)}

    @pytest.mark.parametrize("name", ["ours", *ROWS])
    def test_its_test_is_of_the_network_that_it_trains(self, name):
        train, test = (config.load_yaml(f"options/ablation/{phase}_{name}.yml") for phase in ("train", "test"))
        networks = [{**options["network_g"], "spynet_path": None, "checkpoint": False} for options in (train, test)]
        assert networks[0] == networks[1]
        assert test["path"]["pretrain_network_g"] == f"experiments/{train['name']}/models/net_g_latest.pth"

    @pytest.mark.parametrize("name", ROWS)
    def test_a_row_differs_in_one_thing(self, name):
        row, ours = self.options(name), self.options("ours")
        differing = {key for key in row.keys() | ours.keys() if row.get(key) != ours.get(key)}
        assert differing - self.CONSEQUENCES == {self.ROWS[name]}

    def test_the_weights_of_the_losses_are_the_paper_s(self):
        losses = {name: self.options(name)["train.frequency_opt"] for name in ("ours", *self.ROWS) if "7" in name}
        weights = {name: loss.get("loss_weight", loss.get("real_weight")) for name, loss in losses.items()}
        rest = dict.fromkeys(("table7_ffl", "table7_fsl", "table7_whfl"), 0.02)
        assert weights == rest | {"table7_fcl_0": 0, "table7_fcl_0.2": 0.2}
        assert all(loss.get("imag_weight") == loss.get("real_weight") for loss in losses.values())

    def test_only_without_alignment_are_there_parameters_without_gradient(self):
        resting = [name for name in ("ours", *self.ROWS) if self.options(name).get("find_unused_parameters")]
        assert resting == ["table4_none"]


class TestReference:
    def test_the_page_is_up_to_date(self):
        committed = option_reference.PAGE.read_text(encoding="utf-8")
        assert committed == option_reference.page(), "run: python tests/option_reference.py"

    def test_an_argument_of_several_lines(self):
        class Network:
            """A network.

            Args:
                dim: C,
                    channels.
                depth: a | b

            Returns:
                Nothing.
            """

            def __init__(self, dim: int, depth: float | None = None) -> None: ...

        assert option_reference.argument_table(Network).splitlines()[2:] == [
            "| `dim` | an integer | required | C, channels. |",
            "| `depth` | a number or null | `null` | a \\| b |",
        ]
