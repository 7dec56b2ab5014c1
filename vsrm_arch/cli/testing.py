"""What commands share that set the results of several tests side by side."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsrm_arch.errors import UserError

__all__ = ["TestFile", "add_tests", "read_tests", "run_test"]


@dataclass(frozen=True)
class TestFile:
    """An option file of a test.

    Attributes:
        path: The file.
        options: What it says, checked.
    """

    path: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The test's name."""
        return str(self.options["name"])

    @property
    def datasets(self) -> list[dict[str, Any]]:
        """The sections of its data sets."""
        return list(self.options["datasets"].values())

    def folder(self, dataset: dict[str, Any]) -> Path:
        """Where the test leaves its results on a data set."""
        return Path("results", self.name, "visualization", dataset["name"])


def add_tests(parser: argparse.ArgumentParser) -> None:
    """Flags: the tests, and whether those that ran before run again."""
    parser.add_argument("-opt", nargs="+", default=[], metavar="FILE", help="option files of tests (YAML)")
    text = "set options in place of those of every file, as basicsr test does"
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="A:B=VALUE", help=text)
    text = "take the results of an earlier test of the same name, if they hold all; other weights are not noticed"
    parser.add_argument("--reuse", action="store_true", help=text)


def read_tests(paths: Sequence[str], assignments: Sequence[str]) -> list[TestFile]:
    """Reads and checks the option files.

    Raises:
        UserError: If one is at fault, or two have the same name.
    """
    from vsrm_arch.config import read_options

    tests: list[TestFile] = []
    for path in paths:
        test = TestFile(path, read_options(path, assignments, is_train=False))
        same = [other.path for other in tests if other.name == test.name]
        if same:
            raise UserError(f"{path}: has the name {test.name} of {same[0]}, so that its results would replace those")
        tests.append(test)
    return tests


def run_test(test: TestFile, assignments: Sequence[str]) -> bool:
    """Runs ``basicsr test``, its log on standard error; whether it went well."""
    command = [sys.executable, "-m", "vsrm_arch", "test", "-opt", test.path]
    command += ["--force_yml", *assignments] if assignments else []
    # A process of its own: BasicSR sets up logging and the device once a process.
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0
