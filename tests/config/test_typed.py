"""Sections as typed structures: what they accept, and the messages for what they do not."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from vsrm_arch import config
from vsrm_arch.config import OptionError


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
            ({"steps": 3.5}, f"{WHERE}.steps: expected an integer, got 3.5"),
            ({"steps": True}, f"{WHERE}.steps: expected an integer, got True"),
            ({"steps": None}, f"{WHERE}.steps: expected an integer, got nothing"),
            ({"steps": 0}, f"{WHERE}: steps is 0; write 1 or more"),
            ({"steps": 3, "amp": "fp8"}, f"{WHERE}.amp: expected one of off, bf16, got 'fp8'"),
            ({"steps": 3, "amp": False}, f"{WHERE}.amp: expected one of off, bf16, got False"),
            ({"steps": 3, "periods": 5}, f"{WHERE}.periods: expected a list (an integer each), got 5"),
            ({"steps": 3, "periods": [1, "x"]}, f"{WHERE}.periods[1]: expected an integer, got 'x'"),
            ({"steps": 3, "extra": {"x": "y"}}, f"{WHERE}.extra.x: expected a number, got 'y'"),
            ({"steps": 3, "extra": [1]}, f"{WHERE}.extra: expected a section or null, got [1]"),
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


class TestOption:
    @dataclass
    class Options:
        steps: int = config.option("steps")
        name: str | None = config.option("name", None)
        clips: list[str] = config.option("clips", ["a"])

    def test_without_a_default_it_is_required(self):
        with pytest.raises(OptionError, match=r"missing key 'steps' \(an integer\)"):
            config.parse(self.Options, {}, WHERE)

    def test_defaults_are_copied(self):
        first, second = self.Options(1), self.Options(2)
        assert (first.name, first.clips) == (None, ["a"])
        assert first.clips is not second.clips


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
            (Network, {"dim": 8, "path": 3}, f"{WHERE}.path: expected a string or null, got 3"),
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
