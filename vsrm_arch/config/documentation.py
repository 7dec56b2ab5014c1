"""The typed structures as documentation: a table for readers, a JSON schema for editors."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vsrm_arch.config.typed import describe, options_class

__all__ = ["json_schema", "reference"]


def reference(cls: type) -> str:
    """A Markdown table of an options dataclass.

    Args:
        cls: The dataclass; a field's line comes from its metadata ``help``.

    Returns:
        A row a key (type, default, meaning); those of nested sections below their section, as ``section.key``.
    """
    rows = [f"| `{key}` | {kind} | {default} | {text} |" for key, kind, default, text in _rows(cls, "")]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def json_schema(cls: type) -> dict[str, Any]:
    """A JSON schema (draft 2020-12) of an options dataclass, with which editors check and complete option files.

    Args:
        cls: The dataclass.

    Returns:
        The schema; unknown keys are errors in it, as they are to :func:`vsrm_arch.config.parse`.
    """
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": cls.__name__, **_section_schema(cls)}


def _rows(cls: type, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    hints = get_type_hints(cls)
    for f in _fields(cls):
        name = prefix + f.name
        kind = describe(hints[f.name]).replace("|", "\\|")
        yield name, kind, _default_text(f), str(f.metadata.get("help", "")).replace("|", "\\|")
        nested = options_class(hints[f.name])
        if nested is not None:
            yield from _rows(nested, f"{name}.")


def _default_text(f: "dataclasses.Field[Any]") -> str:
    if _is_required(f):
        return "required"
    default = _default(f)
    if dataclasses.is_dataclass(default):
        return "its defaults"
    return f"`{_yaml(default)}`"


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    return str(value)


def _section_schema(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    properties: dict[str, Any] = {}
    for f in _fields(cls):
        schema = _schema(hints[f.name])
        if "help" in f.metadata:
            schema["description"] = f.metadata["help"]
        if not _is_required(f) and not dataclasses.is_dataclass(_default(f)):
            schema["default"] = _default(f)
        properties[f.name] = schema
    return {
        "type": "object",
        "properties": properties,
        "required": [f.name for f in _fields(cls) if _is_required(f)],
        "additionalProperties": False,
    }


def _schema(annotation: Any) -> dict[str, Any]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(a) for a in args]}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(args[1])}
    if origin is tuple and args[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": [_schema(a) for a in args], "minItems": len(args), "items": False}
    if origin is not None and args:
        return {"type": "array", "items": _schema(args[0])}
    if (section := options_class(annotation)) is not None:
        return _section_schema(section)
    name = {bool: "boolean", int: "integer", float: "number", str: "string", types.NoneType: "null"}.get(annotation)
    return {"type": name} if name else {}


def _fields(cls: type) -> list["dataclasses.Field[Any]"]:
    return [f for f in dataclasses.fields(cls) if f.init]


def _is_required(f: "dataclasses.Field[Any]") -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _default(f: "dataclasses.Field[Any]") -> Any:
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
