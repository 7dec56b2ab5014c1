"""Option files: what is read, what is refused, and in which words."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from vsrm_arch import config
from vsrm_arch.config import OptionError


def write(folder, text, name="a.yml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


class TestLoadYaml:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("2e-4", 2e-4),
            ("1E3", 1e3),
            ("!!float 2e-4", 2e-4),
            ("!!float 1", 1.0),
            (".5", 0.5),
            ("-3", -3),
            ("300000", 300000),
            ("~", None),
            ("", None),
            ("true", True),
            ("False", False),
            ("off", "off"),
            ("yes", "yes"),
            ("011", "011"),
            ("000", "000"),
            ("1:30", "1:30"),
            ("2024-01-31", "2024-01-31"),
            ("[0.9, 0.99]", [0.9, 0.99]),
            ("{a: 1}", {"a": 1}),
            ("'12'", "12"),
            ("1e", "1e"),
            ("a=b", "a=b"),
        ],
    )
    def test_a_value(self, tmp_path, text, value):
        read = config.load_yaml(write(tmp_path, f"key: {text}\n"))["key"]
        assert read == value
        assert type(read) is type(value)

    def test_merged_keys_give_way_to_explicit_ones(self, tmp_path):
        text = "base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\n"
        assert config.load_yaml(write(tmp_path, text))["other"] == {"a": 1, "b": 3}

    def test_accepts_a_byte_order_mark(self, tmp_path):
        assert config.load_yaml(write(tmp_path, "\ufeffname: x\n")) == {"name": "x"}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "a.yml: the option file is empty"),
            ("# only a comment\n", "a.yml: the option file is empty"),
            ("- a\n- b\n", "a.yml: the option file holds a list, not sections"),
            ("just words\n", "a.yml: the option file holds the single value 'just words', not sections"),
            ("a: 1\nb:\n\tc: 2\n", "a.yml:3: a tab character; indent with spaces"),
            ("a: 1\nb: 2\na: 3\n", "a.yml:3: duplicate key 'a'"),
            ("a: {b: 1, b: 2}\n", "a.yml:1: duplicate key 'b'"),
            ("a: [1, 2\nb: 3\n", "a.yml:2: expected ',' or ']'"),
            ("a: b: c\n", "a.yml:1: mapping values are not allowed here"),
            ("3: x\n", "a.yml:1: the key 3 is not a name"),
            ("a: &x [*x]\n", "a.yml:1: found unconstructable recursive node"),
            ("a: !!float fast\n", "does not fit its tag"),
            ("a: *nothing\n", "a.yml:1: found undefined alias 'nothing'"),
            ("a: 1\n---\nb: 2\n", "a.yml:2: but found another document"),
        ],
    )
    def test_refuses(self, tmp_path, text, message):
        with pytest.raises(OptionError) as error:
            config.load_yaml(write(tmp_path, text))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "text",
        [
            "a: !!python/object/apply:os.system ['touch {pwned}']\n",
            "a: !!python/object/new:os.system ['touch {pwned}']\n",
            "a: !!python/name:os.system\n",
            "a: !!python/tuple [1, 2]\n",
            "? !!python/object/apply:os.system ['touch {pwned}']\n: 1\n",
            "a: !!binary aGVsbG8=\n",
            "a: !local 1\n",
        ],
    )
    def test_constructs_no_objects(self, tmp_path, text):
        pwned = tmp_path / "pwned"
        with pytest.raises(OptionError, match=r"a\.yml:1: the tag !\S+ is refused: an option file holds plain values"):
            config.load_yaml(write(tmp_path, text.replace("{pwned}", str(pwned))))
        assert not pwned.exists()

    def test_a_missing_file_names_its_neighbours(self, tmp_path):
        (tmp_path / "options").mkdir()
        write(tmp_path, "a: 1\n", "options/train_VSRM_REDS.yml")
        with pytest.raises(OptionError, match=r"train_VSRM_RED\.yml: no such option file; .*train_VSRM_REDS\.yml"):
            config.load_yaml(tmp_path / "options" / "train_VSRM_RED.yml")
        with pytest.raises(OptionError, match=r"no such option file; .*train_VSRM_REDS\.yml"):
            config.load_yaml(tmp_path / "option" / "train_VSRM_RED.yml")

    def test_a_missing_file_without_neighbours(self, tmp_path):
        with pytest.raises(OptionError, match=r"nor is there any \*\.yml in or below"):
            config.load_yaml(tmp_path / "a.yml")

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(OptionError, match="cannot be read: Is a directory"):
            config.load_yaml(tmp_path)

    def test_a_binary_is_no_option_file(self, tmp_path):
        path = tmp_path / "net.pth"
        path.write_bytes(b"PK\x03\x04\x80\xff\xfe")
        with pytest.raises(OptionError, match="it is no UTF-8 text"):
            config.load_yaml(path)
        path.write_bytes(b"PK\x03\x04\x00")
        with pytest.raises(OptionError, match="not an option file"):
            config.load_yaml(path)


@dataclass(frozen=True)
class Optimizer:
    type: Literal["Adam", "AdamW"] = field(metadata={"help": "optimiser"})
    lr: float = field(default=1e-4, metadata={"help": "learning rate"})
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class Section:
    steps: int
    optimizer: Optimizer | None = None
    amp: Literal["off", "bf16"] = "off"
    periods: list[int] = field(default_factory=list)
    extra: dict[str, float] | None = None
    checkpoint: bool | list[str] = False
    gpus: int | Literal["auto"] = "auto"
    anything: Any = None

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; write 1 or more")


WHERE = "options/a.yml: train"


class TestParse:
    def test_nested(self):
        parsed = config.parse(
            Section,
            {
                "steps": 3,
                "optimizer": {"type": "Adam", "lr": 1, "betas": [0.9, 1]},
                "periods": [1, 2],
                "extra": {"x": 2},
                "checkpoint": ["a"],
            },
            WHERE,
        )
        assert parsed == Section(3, Optimizer("Adam", 1.0, (0.9, 1.0)), "off", [1, 2], {"x": 2.0}, ["a"])
        assert type(parsed.optimizer.lr) is float

    def test_leaves_its_input_alone(self):
        values = {"steps": 3, "optimizer": {"type": "Adam"}}
        config.parse(Section, values, WHERE)
        assert values == {"steps": 3, "optimizer": {"type": "Adam"}}

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"step": 3}, f"{WHERE}: unknown key 'step'; did you mean 'steps'?"),
            ({"Steps": 3}, f"{WHERE}: unknown key 'Steps'; did you mean 'steps'?"),
            ({"zzz": 3}, f"{WHERE}: unknown key 'zzz'; known: amp, anything, checkpoint"),
            ({}, f"{WHERE}: missing key 'steps' (an integer)"),
            (None, f"{WHERE}: expected a section (lines 'key: value'), got nothing"),
            ([1], f"{WHERE}: expected a section (lines 'key: value'), got [1]"),
            ({"steps": "3"}, f"{WHERE}.steps: expected an integer, got '3'"),
            ({"steps": 3.0}, f"{WHERE}.steps: expected an integer, got 3.0"),
            ({"steps": True}, f"{WHERE}.steps: expected an integer, got True"),
            ({"steps": None}, f"{WHERE}.steps: expected an integer, got nothing"),
            ({"steps": 0}, f"{WHERE}: steps is 0; write 1 or more"),
            ({"steps": 3, "amp": "fp8"}, f"{WHERE}.amp: expected one of off, bf16, got 'fp8'"),
            ({"steps": 3, "amp": False}, f"{WHERE}.amp: expected one of off, bf16, got False"),
            ({"steps": 3, "periods": 5}, f"{WHERE}.periods: expected a list (an integer each), got 5"),
            ({"steps": 3, "periods": [1, "x"]}, f"{WHERE}.periods[1]: expected an integer, got 'x'"),
            ({"steps": 3, "extra": {"x": "y"}}, f"{WHERE}.extra.x: expected a number, got 'y'"),
            ({"steps": 3, "extra": [1]}, f"{WHERE}.extra: expected a section or ~, got [1]"),
            ({"steps": 3, "gpus": "all"}, f"{WHERE}.gpus: expected an integer or auto, got 'all'"),
            ({"steps": 3, "checkpoint": "x"}, "expected true or false or a list (a string each), got 'x'"),
            ({"steps": 3, "optimizer": {"lr": 1}}, f"{WHERE}.optimizer: missing key 'type' (one of Adam, AdamW)"),
            (
                {"steps": 3, "optimizer": {"type": "Adam", "lrr": 1}},
                f"{WHERE}.optimizer: unknown key 'lrr'; did you mean 'lr'?",
            ),
            (
                {"steps": 3, "optimizer": {"type": "Adam", "lr": "fast"}},
                f"{WHERE}.optimizer.lr: expected a number, got 'fast'",
            ),
            (
                {"steps": 3, "optimizer": {"type": "Adam", "betas": [0.9]}},
                f"{WHERE}.optimizer.betas: expected a list of 2 values, got 1",
            ),
        ],
    )
    def test_refuses(self, values, message):
        with pytest.raises(OptionError) as error:
            config.parse(Section, values, WHERE)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


class Network:
    def __init__(self, dim: int, scale: Literal[2, 4] = 4, path: str | None = None) -> None:
        pass


class Untyped:
    def __init__(self, num_feat=64, num_block=10):
        pass


def catch_all(crop_border, **kwargs):
    pass


class TestCheckArguments:
    def test_accepts(self):
        config.check_arguments(Network, {"dim": 8, "path": None}, WHERE)
        config.check_arguments(Untyped, {"num_feat": "anything"}, WHERE)
        config.check_arguments(catch_all, {"crop_border": 0, "other": 1}, WHERE)

    @pytest.mark.parametrize(
        ("function", "values", "message"),
        [
            (Network, {"dim": 8, "scal": 2}, f"{WHERE}: unknown key 'scal'; did you mean 'scale'?"),
            (Network, {"dim": 8, "self": 2}, f"{WHERE}: unknown key 'self'"),
            (Network, {"dim": "8"}, f"{WHERE}.dim: expected an integer, got '8'"),
            (Network, {"dim": 8, "scale": 3}, f"{WHERE}.scale: expected one of 2, 4, got 3"),
            (Network, {"dim": 8, "path": 3}, f"{WHERE}.path: expected a string or ~, got 3"),
            (Network, {}, f"{WHERE}: missing key 'dim'"),
            (Untyped, {"num_feats": 1}, f"{WHERE}: unknown key 'num_feats'; did you mean 'num_feat'?"),
            (catch_all, {"other": 1}, f"{WHERE}: missing key 'crop_border'"),
            (Network, [8], f"{WHERE}: expected a section"),
        ],
    )
    def test_refuses(self, function, values, message):
        with pytest.raises(OptionError) as error:
            config.check_arguments(function, values, WHERE)
        assert message in str(error.value)
