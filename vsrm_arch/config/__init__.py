"""Option files: read safely, overridden from the command line, checked against typed structures."""

from vsrm_arch.config.checking import check, check_files
from vsrm_arch.config.documentation import json_schema, reference
from vsrm_arch.config.messages import OptionError
from vsrm_arch.config.overriding import override
from vsrm_arch.config.pipeline import Launch, add_flags, launch, parse_options, read_options
from vsrm_arch.config.typed import check_arguments, option, parse
from vsrm_arch.config.yaml_file import load_yaml, parse_value

__all__ = [
    "Launch",
    "OptionError",
    "add_flags",
    "check",
    "check_arguments",
    "check_files",
    "json_schema",
    "launch",
    "load_yaml",
    "option",
    "override",
    "parse",
    "parse_options",
    "parse_value",
    "read_options",
    "reference",
]
