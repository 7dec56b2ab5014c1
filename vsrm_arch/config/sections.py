"""Which typed structure, if any, stands behind each section of an option file."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_type_hints

from vsrm_arch.config.messages import OptionError, below, did_you_mean
from vsrm_arch.config.typed import annotations, argument_names, option, options_class

__all__ = ["metric_options", "registered", "registry_of", "structure", "valid_keys"]

Path = tuple[str, ...]

# BasicSR's metrics have no annotations.
_METRIC_ARGUMENTS: dict[str, Any] = {
    "crop_border": int,
    "test_y_channel": bool,
    "input_order": Literal["HWC", "CHW"],
}


def registry_of(path: Path) -> str | None:
    """The registry whose classes a section at ``path`` names by its ``type``: arch, dataset, loss, metric; or None."""
    match path:
        case (network,) if network.startswith("network_"):
            return "arch"
        case ("datasets", _):
            return "dataset"
        case ("train", loss) if loss.endswith("_opt"):
            return "loss"
        case ("val", "metrics", _):
            return "metric"
    return None


def registered(registry: str, name: Any, where: str) -> Callable[..., object]:
    """What is registered with BasicSR under a name.

    Args:
        registry: ``arch``, ``dataset``, ``loss``, ``metric`` or ``model``.
        name: The name; BasicSR also finds ``<name>_basicsr``.
        where: The key that holds it, for messages.

    Returns:
        The class or function.

    Raises:
        OptionError: If there is none of that name; the nearest one is named.
    """
    from basicsr.utils import registry as registries

    entries: Mapping[str, Any] = dict(iter(getattr(registries, f"{registry.upper()}_REGISTRY")))
    for candidate in (name, f"{name}_basicsr"):
        if candidate in entries:
            return entries[candidate]
    kind = "network" if registry == "arch" else registry
    raise OptionError(f"{where}: no {kind} named {name!r} is registered; {did_you_mean(name, entries)}")


def metric_options(metric: Callable[..., object]) -> type:
    """The section of a metric as an options dataclass.

    BasicSR's metrics end in ``**kwargs``, which would swallow a mistyped key: the arguments that have names count.

    Args:
        metric: The registered function; BasicSR hands it the two images, ``img`` and ``img2``.

    Returns:
        The dataclass of its other arguments, and of the keys ``type`` and ``better``. The latter is for the model; a
        function that has such an argument says with it which values may stand there.
    """
    hints = _METRIC_ARGUMENTS | annotations(metric)
    fields: dict[str, Any] = {
        "type": (str, option("a registered metric")),
        "better": (Literal["higher", "lower"], option("which values are good", "higher")),
    }
    for parameter in inspect.signature(metric).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD or parameter.name in ("img", "img2"):
            continue
        default = dataclasses.MISSING if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), option(parameter.name, default))
    return dataclasses.make_dataclass("MetricOptions", [(name, *field) for name, field in fields.items()], kw_only=True)


def structure(options: Mapping[str, Any], path: Path) -> Any:
    """What describes the section at ``path``.

    Args:
        options: The whole option file.
        path: Keys from the file's top; ``()`` is the file itself.

    Returns:
        A dataclass, or the registered class that the section's values are handed to; None where nothing is
        known: inside the sections of a class without ``Options``, or where the ``type`` is missing or not registered.
    """
    for length in range(len(path), 0, -1):
        registry = registry_of(path[:length])
        if registry is not None:
            return _descend(_named_by(options, path[:length], registry), path[length:])
    try:
        model = registered("model", options.get("model_type"), "")
    except OptionError:
        return None
    return _descend(getattr(model, "Options", None), path)


def valid_keys(options: Mapping[str, Any], path: Path) -> list[str] | None:
    """The keys that may stand in the section at ``path``; None where that is not known."""
    found = structure(options, path)
    if found is None:
        return None
    if dataclasses.is_dataclass(found):
        return [f.name for f in dataclasses.fields(found)]
    names = argument_names(found)
    return None if names is None else ["type", *names]


def _named_by(options: Mapping[str, Any], path: Path, registry: str) -> Any:
    """The structure of a section that names a registered class."""
    section: Any = options
    for key in path:
        section = section.get(key) if isinstance(section, Mapping) else None
    try:
        entry = registered(registry, section["type"] if isinstance(section, Mapping) else None, below("", path[-1]))
    except (OptionError, KeyError):
        return None
    if registry == "metric":
        return metric_options(entry)
    return getattr(entry, "Options", None) if registry == "dataset" else entry


def _descend(found: Any, keys: Path) -> Any:
    """The dataclass reached from another through its fields."""
    for key in keys:
        if found is None or not dataclasses.is_dataclass(found):
            return None
        found = options_class(get_type_hints(found).get(key))
    return found
