"""What commands share that set the results of several tests side by side."""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsrm_arch.errors import UserError

__all__ = ["TestFile", "add_tests", "check_needs", "read_tests", "run_test"]


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
    def datasets(self) -> dict[str, dict[str, Any]]:
        """Its data sets by their names."""
        return {section["name"]: section for section in self.options["datasets"].values()}

    @property
    def val(self) -> dict[str, Any]:
        """Its section ``val``."""
        return self.options.get("val") or {}

    def folder(self, dataset: str) -> Path:
        """Where the test leaves its results on a data set."""
        return Path("results", self.name, "visualization", dataset)

    def is_known(self, dataset: str) -> bool:
        """Whether an earlier test, of the same options and weights, has left its results on a data set."""
        from vsrm_arch.models.recipe import is_made_by

        return is_made_by(self.folder(dataset), self.options, dataset)


def add_tests(parser: argparse.ArgumentParser) -> None:
    """Flags: the tests, and whether those that ran before run again."""
    parser.add_argument("-opt", nargs="+", default=[], metavar="FILE", help="option files of tests (YAML)")
    text = "set options in place of those of every file, as basicsr test does"
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="A:B=VALUE", help=text)
    text = "take the results of an earlier test where options and weights are the same"
    parser.add_argument("--reuse", action="store_true", help=text)


def read_tests(paths: Sequence[str], assignments: Sequence[str], reserved: Iterable[str] = ()) -> list[TestFile]:
    """Reads and checks the option files.

    Raises:
        UserError: If one is at fault, two have the same name, one has a reserved name, or two measure a data set of
            one name differently.
    """
    from vsrm_arch.config import read_options

    tests: list[TestFile] = []
    for path in paths:
        test = TestFile(path, read_options(path, assignments, is_train=False))
        if test.name in reserved:
            raise UserError(f"{path}: the name {test.name} stands for something else here; name the test otherwise")
        for other in tests:
            if other.name == test.name:
                raise UserError(
                    f"{path}: has the name {test.name} of {other.path}, so that its results would replace those"
                )
            _check_alike(other, test)
        tests.append(test)
    return tests


def check_needs(test: TestFile) -> None:
    """Looks for what a test needs, so that what is missing is told before any test has run.

    Raises:
        UserError: If a file that it opens, or something that a metric needs, is missing.
    """
    from vsrm_arch.config.checking import check_files
    from vsrm_arch.metrics.traits import prepare

    check_files(test.options, test.path)
    for metric in (test.val.get("metrics") or {}).values():
        prepare(metric)


def run_test(test: TestFile, assignments: Sequence[str]) -> bool:
    """Runs ``basicsr test``, its log on standard error; whether it went well."""
    command = [sys.executable, "-m", "vsrm_arch", "test", "-opt", test.path]
    command += ["--force_yml", *assignments] if assignments else []
    # A process of its own: BasicSR sets up logging and the device once a process.
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0


def _check_alike(first: TestFile, second: TestFile) -> None:
    """Figures under one heading must be of the same frames, measured in the same way."""
    for dataset in first.datasets.keys() & second.datasets.keys():
        differing = [
            f"val.{key}" for key in ("metrics", "center_frame_only") if first.val.get(key) != second.val.get(key)
        ]
        sections = [test.datasets[dataset] for test in (first, second)]
        keys = dict.fromkeys([*sections[0], *sections[1]])
        differing += [f"datasets.{key}" for key in keys if sections[0].get(key) != sections[1].get(key)]
        if differing:
            raise UserError(
                f"{first.path} and {second.path} measure {dataset} differently ({', '.join(differing)}); make them "
                "alike, or give the data set another name in one of them"
            )
