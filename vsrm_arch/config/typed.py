"""Sections of an option file as typed structures: dataclasses, and the signatures of what the file names."""

import dataclasses
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vsrm_arch.config.messages import OptionError, below, did_you_mean
from vsrm_arch.errors import UserError

__all__ = ["annotations", "argument_names", "check_arguments", "describe", "option", "options_class", "parse"]

T = TypeVar("T")

_SCALARS: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    type(None): "null",
    list: "a list",
    dict: "a section",
}


def option(help: str, default: Any = dataclasses.MISSING) -> Any:
    """A key of an options dataclass.

    Args:
        help: Its line in the option reference.
        default: Its value where the file leaves it out, copied for every file if it is a list or a dict; without one
            the key is required.

    Returns:
        The field.
    """
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata={"help": help})
    return dataclasses.field(default=default, metadata={"help": help})


def parse(cls: type[T], values: Any, where: str) -> T:
    """Turns a section of an option file into the dataclass that describes it.

    Fields may be bool, int (which takes 5e3, too), float (which takes an integer, too), str, Literal, unions and
    Optional, ``list[X]``, ``tuple[X, ...]``, ``dict[str, X]``, Any, and dataclasses. A ValueError of the class's
    ``__post_init__`` becomes an OptionError that says where.

    Args:
        cls: The dataclass.
        values: The section; it is not modified.
        where: The file and the section, for messages: ``options/a.yml: train``.

    Returns:
        An instance of ``cls``.

    Raises:
        OptionError: If a key is unknown (the nearest valid one is named), missing, or of another type.
    """
    if not isinstance(values, Mapping):
        raise OptionError(f"{where}: expected a section (lines 'key: value'), got {_show(values)}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    _check_names(values, fields, where)
    missing = [
        name
        for name, f in fields.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise OptionError(f"{where}: missing key '{missing[0]}' ({describe(hints[missing[0]])})")
    converted = {name: _convert(hints[name], value, below(where, name)) for name, value in values.items()}
    try:
        return cls(**converted)
    except (ValueError, UserError) as error:
        raise OptionError(f"{where}: {error}") from None


def check_arguments(function: Callable[..., object], values: Any, where: str) -> dict[str, Any]:
    """Checks a section of an option file against the signature that it will be handed to.

    Annotated parameters are checked like the fields of :func:`parse`; others by their name only. A signature with a
    ``**kwargs`` accepts every name.

    Args:
        function: A registered class or function.
        values: The section without its ``type``.
        where: The file and the section, for messages.

    Returns:
        The values as the annotations have them: 16 for 16.0 where that is an integer.

    Raises:
        OptionError: If a key is unknown, missing, or of another type.
    """
    if not isinstance(values, Mapping):
        raise OptionError(f"{where}: expected a section (lines 'key: value'), got {_show(values)}")
    names = argument_names(function)
    parameters = inspect.signature(function).parameters
    if names is not None:
        _check_names(values, names, where)
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind in _BY_NAME
        if required and name not in values:
            raise OptionError(f"{where}: missing key '{name}'")
    hints = annotations(function)
    return {name: _convert(hints.get(name, Any), value, below(where, name)) for name, value in values.items()}


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def argument_names(function: Callable[..., object]) -> list[str] | None:
    """Names that a signature accepts; None if it accepts every name."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.kind in _BY_NAME]


def annotations(function: Callable[..., object]) -> dict[str, Any]:
    """The types of a signature's parameters; none where they cannot be read, as in code without types."""
    target = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    try:
        return get_type_hints(target)
    except (NameError, TypeError):
        return {}


def options_class(annotation: Any) -> type | None:
    """The dataclass of an annotation such as ``TrainOptions | None``; None if it holds none."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def describe(annotation: Any) -> str:
    """What an annotation expects, in words: ``a list of integers``."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        values = ["true" if a is True else "false" if a is False else str(a) for a in args]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if _is_union(origin):
        return " or ".join(describe(a) for a in args if a is not types.NoneType) + (
            " or null" if types.NoneType in args else ""
        )
    if _is_list(origin):
        if origin is tuple and args[-1] is not Ellipsis:
            return f"a list of {len(args)} values"
        return f"a list ({describe(args[0])} each)"
    if origin in (dict, Mapping) or options_class(annotation):
        return "a section"
    if annotation is Any:
        return "any value"
    return _SCALARS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _convert(annotation: Any, value: Any, where: str) -> Any:
    """The value as the annotation has it; raises an OptionError if it is something else."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any or isinstance(annotation, TypeVar):
        return value
    if origin is Literal:
        plain = int(value) if isinstance(value, float) and value.is_integer() else value
        # 1 == True in Python, but not in an option file.
        if any(plain == a and type(plain) is type(a) for a in args):
            return plain
    elif _is_union(origin):
        return _convert_union(annotation, value, where)
    elif _is_list(origin):
        if isinstance(value, list | tuple):
            return _convert_list(annotation, value, where)
    elif origin in (dict, Mapping):
        if isinstance(value, Mapping):
            return {k: _convert(args[1], v, below(where, k)) for k, v in value.items()}
    elif (section := options_class(annotation)) is not None:
        return parse(section, value, where)
    elif annotation is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif annotation is int and isinstance(value, float) and value.is_integer():
        # BasicSR's own files write iterations as `!!float 5e3`.
        return int(value)
    elif annotation in _SCALARS:
        if type(value) is annotation:
            return value
    elif not isinstance(annotation, type) or isinstance(value, annotation):
        # Callables, protocols and the like: nothing that a file could spell.
        return value
    raise OptionError(f"{where}: expected {describe(annotation)}, got {_show(value)}")


def _convert_union(annotation: Any, value: Any, where: str) -> Any:
    members = get_args(annotation)
    # The one member of the value's shape, if there is one, knows best what is wrong inside it.
    if isinstance(value, Mapping):
        shaped = [m for m in members if options_class(m) or get_origin(m) in (dict, Mapping)]
    elif isinstance(value, list):
        shaped = [m for m in members if _is_list(get_origin(m))]
    else:
        shaped = []
    if len(shaped) == 1:
        return _convert(shaped[0], value, where)
    for member in sorted(members, key=lambda m: m is float):  # an integer stays one in `int | float`
        try:
            return _convert(member, value, where)
        except OptionError:
            continue
    raise OptionError(f"{where}: expected {describe(annotation)}, got {_show(value)}")


def _convert_list(annotation: Any, value: Sequence[Any], where: str) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    kinds = list(args) if origin is tuple and args[-1] is not Ellipsis else [args[0]] * len(value)
    if len(kinds) != len(value):
        raise OptionError(f"{where}: expected {describe(annotation)}, got {len(value)}")
    items = [_convert(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))]
    return tuple(items) if origin is tuple else items


def _check_names(values: Mapping[str, Any], valid: Sequence[str] | Mapping[str, Any], where: str) -> None:
    for name in values:
        if name not in valid:
            raise OptionError(f"{where}: unknown key '{name}'; {did_you_mean(name, valid)}")


def _is_union(origin: Any) -> bool:
    return origin in (Union, types.UnionType)


def _is_list(origin: Any) -> bool:
    return origin in (list, tuple, Sequence)


def _show(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a section"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
