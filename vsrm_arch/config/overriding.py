"""``--force_yml``: options from the command line, without executing them as BasicSR does."""

import copy
import re
from collections.abc import Mapping
from typing import Any

from vsrm_arch.config.messages import OptionError, did_you_mean
from vsrm_arch.config.sections import registry_of, valid_keys
from vsrm_arch.config.yaml_file import parse_value

__all__ = ["override"]


def override(options: Mapping[str, Any], *assignments: str) -> dict[str, Any]:
    """Sets options as ``--force_yml`` asks.

    Args:
        options: The option file; it is not modified.
        *assignments: Each ``section:key=value``, the value as it would stand in the file. A key that the file does not
            have is added only where a typed structure knows it, or if it is a whole metric, which bears any name.

    Returns:
        The options with the new values.

    Raises:
        OptionError: If an assignment is no assignment, or its path does not exist.
    """
    result = copy.deepcopy(dict(options))
    for assignment in assignments:
        _assign(result, assignment)
    return result


def _assign(options: dict[str, Any], assignment: str) -> None:
    where = f"--force_yml {assignment}"
    path_text, equals, text = assignment.partition("=")
    # Messages and tables write the path with dots.
    path = tuple(key.strip() for key in re.split("[:.]", path_text))
    if not equals or not all(path):
        raise OptionError(f"{where}: expected section:key=value, such as train:ema_decay=0.99")
    if not text.strip():
        raise OptionError(f"{where}: the value is missing; write null for none")
    section = options
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        if not (last and registry_of(path) == "metric"):
            _check_key(options, section, path[:depth], key, where)
        if last:
            section[key] = parse_value(text.strip(), where)
            return
        if section.get(key) is None:
            section[key] = {}
        section = section[key]
        if not isinstance(section, dict):
            raise OptionError(f"{where}: {':'.join(path[: depth + 1])} is {section!r}, not a section")


def _check_key(options: dict[str, Any], section: dict[str, Any], path: tuple[str, ...], key: str, where: str) -> None:
    if key in section:
        return
    known = valid_keys(options, path) or []
    if key not in known:
        place = f"in {':'.join(path)}" if path else "at the top of the option file"
        raise OptionError(f"{where}: unknown key '{key}' {place}; {did_you_mean(key, [*section, *known])}")
