"""The option reference and the JSON schema."""

from dataclasses import dataclass, field
from typing import Any, Literal

from vsrm_arch import config


@dataclass(frozen=True)
class Inner:
    lr: float = field(metadata={"help": "learning rate"})
    betas: tuple[float, float] = field(default=(0.9, 0.99), metadata={"help": "decays | of both means"})


@dataclass(frozen=True)
class Outer:
    kind: Literal["off", "bf16"] = "off"
    inner: Inner | None = None
    steps: list[int] = field(default_factory=list, metadata={"help": "steps"})
    flag: bool = False
    extra: dict[str, Any] | None = None


class TestReference:
    def test_a_row_a_key(self):
        assert config.reference(Outer) == (
            "| key | type | default | meaning |\n"
            "|---|---|---|---|\n"
            "| `kind` | one of off, bf16 | `off` |  |\n"
            "| `inner` | a section or null | `null` |  |\n"
            "| `inner.lr` | a number | required | learning rate |\n"
            "| `inner.betas` | a list of 2 values | `[0.9, 0.99]` | decays \\| of both means |\n"
            "| `steps` | a list (an integer each) | `[]` | steps |\n"
            "| `flag` | true or false | `false` |  |\n"
            "| `extra` | a section or null | `null` |  |\n"
        )


class TestJsonSchema:
    def test_types_defaults_and_required_keys(self):
        schema = config.json_schema(Outer)
        assert schema["additionalProperties"] is False
        assert schema["required"] == []
        properties = schema["properties"]
        assert properties["kind"] == {"enum": ["off", "bf16"], "default": "off"}
        assert properties["steps"] == {
            "type": "array",
            "items": {"type": "integer"},
            "description": "steps",
            "default": [],
        }
        inner = properties["inner"]["anyOf"][0]
        assert inner["required"] == ["lr"]
        assert inner["properties"]["lr"] == {"type": "number", "description": "learning rate"}
        assert inner["properties"]["betas"]["minItems"] == 2
        assert properties["inner"]["anyOf"][1] == {"type": "null"}
        assert properties["extra"]["anyOf"][0] == {"type": "object", "additionalProperties": {}}
