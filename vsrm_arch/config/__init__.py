"""Option files: read safely, overridden from the command line, checked against typed structures."""

from vsrm_arch.config.messages import OptionError
from vsrm_arch.config.typed import check_arguments, parse
from vsrm_arch.config.yaml_file import load_yaml, parse_value

__all__ = ["OptionError", "check_arguments", "load_yaml", "parse", "parse_value"]
