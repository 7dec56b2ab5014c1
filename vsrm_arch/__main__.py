"""``python -m vsrm_arch``: the command line, for torchrun."""

import sys

from vsrm_arch.cli import main

__all__: list[str] = []

# The data loaders' workers import this module, too.
if __name__ == "__main__":
    sys.exit(main())
