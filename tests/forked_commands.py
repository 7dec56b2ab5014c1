"""Runs commands of ours; see ``forking``.

The imports are those of ``import vsrm_arch``: what a command needs beyond, it must import.
"""

import sys

import forking

import vsrm_arch  # noqa: F401
from vsrm_arch import cli


def run(job):
    sys.argv[:] = ["basicsr", *job["arguments"]]
    return cli.main()


if __name__ == "__main__":
    forking.serve(run)
