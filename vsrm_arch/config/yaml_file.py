"""Option files: YAML that holds plain values only."""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml

from vsrm_arch.config.messages import OptionError

__all__ = ["OptionLoader", "load_yaml", "parse_value"]

_PREFIX = "tag:yaml.org,2002:"
# What a bare word means: the core schema of YAML 1.2. That of YAML 1.1, PyYAML's own, turns the words of option files
# into something else: `amp: off` into false, the clip `011` into 9, `1:30` into 90, `2024-01-31` into a date; and it
# takes `2e-4` for a string.
_BARE_WORDS = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}


class OptionLoader(yaml.SafeLoader):
    """Null, booleans, numbers, strings, lists and mappings with string keys; nothing else."""

    yaml_constructors = {  # noqa: RUF012  (the name and kind of PyYAML's own class attribute)
        f"{_PREFIX}null": yaml.SafeLoader.construct_yaml_null,
        f"{_PREFIX}bool": yaml.SafeLoader.construct_yaml_bool,
        f"{_PREFIX}int": yaml.SafeLoader.construct_yaml_int,
        f"{_PREFIX}float": yaml.SafeLoader.construct_yaml_float,
        f"{_PREFIX}str": yaml.SafeLoader.construct_yaml_str,
        f"{_PREFIX}seq": yaml.SafeLoader.construct_yaml_seq,
        None: yaml.SafeLoader.construct_undefined,
    }
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_options(self, node: yaml.MappingNode) -> dict[str, Any]:
        """A mapping without duplicate keys; an explicit key may stand beside a merged one (``<<``) of its name."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == f"{_PREFIX}merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not a name", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key '{key}'", key_node.start_mark)
            seen.add(key)
        self.flatten_mapping(node)
        return {self.construct_object(k, deep=True): self.construct_object(v, deep=True) for k, v in node.value}


OptionLoader.add_constructor(f"{_PREFIX}map", OptionLoader.construct_options)
for _tag, (_pattern, _first) in _BARE_WORDS.items():
    OptionLoader.add_implicit_resolver(
        f"{_PREFIX}{_tag}", re.compile(f"(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
    )


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Reads an option file, joined to the one that it ``extends``, if it names one.

    The file's values stand in place of the other's, section by section; a section of another ``type`` as a whole. A
    file that is extended extends none.

    Bare words mean what YAML 1.2 says: only ``true`` and ``false`` are booleans (``off`` is a string), ``2e-4`` is a
    number, a number with leading zeros is a string (the clip ``011``). ``~`` and BasicSR's ``!!float 2e-4`` work.

    Args:
        path: The file.

    Returns:
        Its sections: dicts, lists, strings, numbers, booleans and None.

    Raises:
        OptionError: If there is no such file, or it is empty, no YAML, no mapping, holds a key twice, or asks for a
            Python object; or the file that it extends cannot be read, or extends another.
    """
    values = _load_file(path)
    if "extends" not in values:
        return values
    where, name = f"{path}: extends", values.pop("extends")
    if not isinstance(name, str):
        raise OptionError(f"{where}: expected the path of an option file, got {name!r}")
    try:
        extended = _load_file(name)
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from None
    if "extends" in extended:
        raise OptionError(f"{where}: {name} extends {extended['extends']} itself; name that one, and set the rest here")
    return _joined(extended, values)


def _joined(extended: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    result = dict(extended)
    for key, new in values.items():
        old = extended.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and new.get("type", old.get("type")) == old.get("type"):
            new = _joined(old, new)
        result[key] = new
    return result


def _load_file(path: str | Path) -> dict[str, Any]:
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise OptionError(f"{path}: no such option file; {_nearby(path)}") from None
    except UnicodeDecodeError:
        raise OptionError(f"{path}: not an option file: it is no UTF-8 text") from None
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror}") from None
    values = _load(text, str(path))
    if values is None:
        raise OptionError(f"{path}: the option file is empty")
    if not isinstance(values, dict):
        raise OptionError(f"{path}: the option file holds {_kind(values)}, not sections (lines 'key: value')")
    return values


def parse_value(text: str, where: str) -> Any:
    """Reads one value as it would stand in an option file.

    Args:
        text: For example ``2e-4``, ``[1, 2]``, ``~``. As in BasicSR's ``--force_yml``, ``none`` is null.
        where: What to call it in a message.

    Returns:
        The plain value.

    Raises:
        OptionError: If it is not YAML, or asks for a Python object.
    """
    return None if text.lower() == "none" else _load(text, where, with_line=False)


def _load(text: str, where: str, with_line: bool = True) -> Any:
    try:
        return yaml.load(text, Loader=OptionLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}" if mark and with_line else where
        raise OptionError(f"{place}: {_problem(error)}") from None
    except yaml.YAMLError as error:
        raise OptionError(f"{where}: not an option file: {' '.join(str(error).split())}") from None
    except (ValueError, KeyError, IndexError) as error:
        # SafeLoader lets the exceptions of float('x') and its like through: `!!float x`.
        raise OptionError(f"{where}: a value does not fit its tag (!!float, !!int, !!bool): {error}") from None
    except RecursionError:
        raise OptionError(f"{where}: nested too deeply") from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join((error.problem or "not valid YAML").split())
    if "'\\t'" in problem:
        return "a tab character; indent with spaces"
    if problem.startswith("could not determine a constructor for the tag"):
        tag = problem.rsplit(" ", 1)[-1].strip("'").replace(_PREFIX, "!!")
        return f"the tag {tag} is refused: an option file holds plain values only"
    if error.context and "while scanning" not in error.context:
        return f"{problem} ({' '.join(error.context.split())})"
    return problem


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"the single value {value!r}"


def _nearby(path: Path) -> str:
    """Which option files exist near a path that does not, the most similar names first."""
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    files = [str(f) for pattern in ("*.yml", "*.yaml") for f in _up_to(folder, pattern)]
    if not files:
        return f"nor is there any *.yml in or below {folder}/"
    # First those of the same name, in a folder above which the command was started.
    same = [file for file in files if Path(file).name == path.name]
    near = same[:4] or difflib.get_close_matches(str(path), files, n=4, cutoff=0.3) or sorted(files)[:4]
    more = f" and {len(files) - len(near)} more" if len(files) > len(near) else ""
    return f"there is {', '.join(near)}{more}"


def _up_to(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder and of three storeys of sub-folders: a mistyped path must not search a whole disk."""
    files = (f for depth in ("", "*/", "*/*/", "*/*/*/") for f in sorted(folder.glob(depth + pattern)))
    return [f for f in files if not any(part.startswith(".") for part in f.relative_to(folder).parts)]
