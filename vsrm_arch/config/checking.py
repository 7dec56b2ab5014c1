"""The check of a whole option file, before anything is built and any folder is made."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsrm_arch.config.messages import OptionError, below, did_you_mean
from vsrm_arch.config.sections import metric_options, registered, registry_of
from vsrm_arch.config.trial import try_to_build
from vsrm_arch.config.typed import check_arguments, parse

__all__ = ["check", "check_files"]

# What BasicSR's pipelines read without asking whether it is there.
_READ_BY_TRAINING = (
    ("num_gpu",),
    ("train", "total_iter"),
    ("logger", "print_freq"),
    ("logger", "save_checkpoint_freq"),
    ("logger", "use_tb_logger"),
)
_READ_BY_TESTING = (("num_gpu",), ("val", "save_img"))


def check(options: Mapping[str, Any], where: str, is_train: bool) -> dict[str, Any]:
    """Checks every section of an option file that has a structure, and what BasicSR's pipelines need of the others.

    Networks and losses are built once for trial: what their constructors refuse is told before any folder is made.

    Args:
        options: The file's sections; not modified.
        where: The file, for messages.
        is_train: Whether the file is to train from or to test with.

    Returns:
        The options: values as the structures have them, completed by their defaults; ``~/`` as the home folder; and
        with the phase and the scale that BasicSR gives to each dataset.

    Raises:
        OptionError: At the first fault.
    """
    result: dict[str, Any] = _with_home(options)
    _check_name(result, where)
    model = registered("model", result["model_type"], f"{where}: model_type")
    structure = getattr(model, "Options", None)
    for section in ("logger", "val") if structure else ():
        needed = (section == "logger") == is_train
        if result.get(section) is None and needed:
            result[section] = {}
    if result.get("path") is None:
        result["path"] = {}
    if structure is not None:
        result = _completed(result, parse(structure, result, where))
    _check_sections(result, where)
    result["datasets"] = {
        key: _check_dataset(result, key, section, where, is_train)
        for key, section in _section(result, "datasets", where).items()
    }
    _check_phases(result["datasets"], where, is_train)
    _check_read(result, where, is_train)
    return result


def check_files(options: Mapping[str, Any], where: str) -> None:
    """Checks the files that a network or a pipeline opens: a missing one is told before the data are read.

    Args:
        options: Checked options.
        where: The option file, for messages.

    Raises:
        OptionError: If a network file, a training state or the weights of the optical flow are missing.
    """
    files = [
        ("path", key, value, "train it first, or check the path")
        for key, value in options["path"].items()
        if key.startswith("pretrain_network") or key == "resume_state"
    ]
    for network in (key for key in options if key.startswith("network_")):
        files += [
            (network, key, value, "`basicsr doctor` says more; set it to null to go without")
            for key, value in options[network].items()
            if key.endswith("_path")
        ]
    for section, key, value, remedy in files:
        if isinstance(value, str) and not Path(value).is_file():
            raise OptionError(f"{where}: {section}.{key}: no such file: {value}; {remedy}")


def _check_name(options: Mapping[str, Any], where: str) -> None:
    for key in ("name", "model_type"):
        if not isinstance(options.get(key), str):
            problem = f"expected a string, got {options[key]!r}" if key in options else "missing"
            raise OptionError(f"{below(where, key)}: {problem}")
    name = Path(options["name"])
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise OptionError(f"{where}: name: {options['name']!r} cannot name a folder below experiments/")


def _with_home(value: Any) -> Any:
    """A copy of options, ``~/`` replaced wherever a string begins so: no other value than a path does."""
    if isinstance(value, Mapping):
        return {key: _with_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_home(item) for item in value]
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


def _check_sections(options: dict[str, Any], where: str) -> None:
    """Checks networks, losses and metrics against what they name, and gives their values the types asked for."""
    networks = [key for key in options if key.startswith("network_")]
    if not networks:
        raise OptionError(f"{where}: missing section 'network_g'")
    for key in networks:
        options[key] = _check_registered(options[key], (key,), where)
    train = _section(options, "train", where, optional=True)
    for key, section in train.items():
        if registry_of(("train", key)) and section is not None:
            train[key] = _check_registered(section, ("train", key), where)
    val = _section(options, "val", where, optional=True)
    metrics = _section(val, "metrics", f"{where}: val", optional=True)
    for key, section in metrics.items():
        metrics[key] = _check_registered(section, ("val", "metrics", key), where)


def _check_registered(section: Any, path: tuple[str, ...], where: str) -> dict[str, Any]:
    registry = registry_of(path)
    assert registry is not None
    for key in path:
        where = below(where, key)
    entry = registered(registry, _type(section, where), f"{where}.type")
    if registry == "metric":
        parsed: object = parse(metric_options(entry), section, where)
        return {key: getattr(parsed, key) for key in section}
    arguments = check_arguments(entry, {key: value for key, value in section.items() if key != "type"}, where)
    try_to_build(entry, arguments, where)
    return {"type": section["type"], **arguments}


def _check_dataset(options: Mapping[str, Any], key: str, section: Any, where: str, is_train: bool) -> dict[str, Any]:
    where = below(below(where, "datasets"), key)
    entry = registered("dataset", _type(section, where), f"{where}.type")
    completed = {**section, "phase": key.split("_")[0]}
    if "scale" in options:
        completed["scale"] = options["scale"]
    structure = getattr(entry, "Options", None)
    if structure is not None:
        completed = _completed(completed, parse(structure, completed, where))
    needed = ["name"]
    if is_train and completed["phase"] == "train":
        needed += ["batch_size_per_gpu", "num_worker_per_gpu"]
    for name in needed:
        if completed.get(name) is None:
            raise OptionError(f"{where}: missing key '{name}'")
    if completed.get("persistent_workers") and not completed.get("num_worker_per_gpu"):
        raise OptionError(f"{where}.persistent_workers: there are no workers to keep; set num_worker_per_gpu, too")
    return completed


def _check_phases(datasets: Mapping[str, Mapping[str, Any]], where: str, is_train: bool) -> None:
    phases = ("train", "val") if is_train else ("val", "test")
    for key, section in datasets.items():
        if section["phase"] not in phases:
            hint = did_you_mean(key, phases) if is_train else "a test reads sections named test, test_2, val, …"
            raise OptionError(f"{where}: datasets.{key}: not a phase of this command; {hint}")
        if section["phase"] == "train" and key != "train":
            raise OptionError(f"{where}: datasets.{key}: BasicSR trains from one section, named train")
    if is_train and "train" not in datasets:
        raise OptionError(f"{where}: datasets: missing section 'train'")
    if not datasets:
        raise OptionError(f"{where}: datasets: no section to test on")
    seen: dict[str, str] = {}
    for key, section in datasets.items():
        name = str(section["name"])
        # Results are kept under the set's name. Of a training set there are none: it may share its name.
        if section["phase"] != "train" and seen.setdefault(name, key) != key:
            raise OptionError(
                f"{where}: datasets.{key}.name: datasets.{seen[name]} is named {name!r}, too, and their results would "
                "overwrite each other; give it another name"
            )


def _check_read(options: Mapping[str, Any], where: str, is_train: bool) -> None:
    needed = _READ_BY_TRAINING if is_train else _READ_BY_TESTING
    if is_train and options.get("val") is not None:
        needed = (*needed, ("val", "val_freq"), ("val", "save_img"))
    for path in needed:
        section: Any = options
        for key in path:
            where_key = f"{where}: {'.'.join(path)}"
            if not isinstance(section, Mapping) or section.get(key) is None:
                raise OptionError(f"{where_key}: missing key '{key}'")
            section = section[key]


def _section(options: Mapping[str, Any], key: str, where: str, optional: bool = False) -> dict[str, Any]:
    section = options.get(key)
    if section is None and optional:
        return {}
    if not isinstance(section, dict):
        problem = "missing section" if section is None else f"expected a section, got {section!r} for"
        raise OptionError(f"{where}: {problem} '{key}'")
    return section


def _type(section: Any, where: str) -> str:
    if not isinstance(section, Mapping):
        raise OptionError(f"{where}: expected a section (lines 'key: value'), got {section!r}")
    if not isinstance(section.get("type"), str):
        raise OptionError(f"{where}: missing key 'type'")
    return str(section["type"])


def _completed(section: Any, parsed: Any) -> Any:
    """A section with its structure's values: of the right type, and with the defaults, unless these are None.

    BasicSR's pipelines look some keys up without a default, and ask of others only whether they are there.
    """
    if not dataclasses.is_dataclass(parsed):
        return parsed
    given: Mapping[str, Any] = section if isinstance(section, Mapping) else {}
    values = {f.name: _completed(given.get(f.name), getattr(parsed, f.name)) for f in dataclasses.fields(parsed)}
    return {**given, **{key: value for key, value in values.items() if value is not None}}
