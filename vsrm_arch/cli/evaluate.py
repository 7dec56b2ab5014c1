"""Test several networks and set their results side by side, as the paper's Table 2.

Runs `basicsr test` on each option file, in a process of its own, and prints a table for each data set: a row for each
clip, a column for each network. What is measured, and how, each file says: weights, data set, RGB or Y, the centre
frame or all, flips.
"""

import argparse
import sys
from pathlib import Path

from vsrm_arch.cli.measuring import check_files
from vsrm_arch.errors import UserError

__all__ = ["add_arguments", "run"]

_EPILOG = """Columns bear the names of the tests (name in the option file). Where a test compares with bicubic
enlargement (val: compare_bicubic: true), it has a column as well.

examples:
  basicsr evaluate -opt options/sample/test_VSRM_sample.yml --csv sample.csv
      one network and bicubic enlargement

  basicsr evaluate -opt options/test_VSRM_Vid4.yml options/test_IART_Vid4.yml --reuse
      two networks on one data set; what has been tested already is not tested again

  basicsr evaluate -opt options/test_VSRM_REDS4.yml options/test_VSRM_Vid4.yml \\
      --force_yml val:amp=bf16 val:save_img=false
      two data sets, in another precision, without saving pictures"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The tests, and the files that are written."""
    parser.epilog = _EPILOG
    parser.add_argument("-opt", nargs="+", default=[], metavar="FILE", help="option files of tests (YAML)")
    text = "set options in place of those of every file, as basicsr test does"
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="A:B=VALUE", help=text)
    text = (
        "take the results of an earlier test of the same name, if they have all metrics; other weights are not noticed"
    )
    parser.add_argument("--reuse", action="store_true", help=text)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a line for each figure")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as they are printed")


def run(args: argparse.Namespace) -> int:
    """Tests, prints the tables and writes the files.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0; 1 if a test failed, whose networks the tables lack.

    Raises:
        UserError: If an argument, an option file or a results file is at fault.
    """
    from vsrm_arch.evaluation import read_scores, score_tables, write_scores
    from vsrm_arch.files import write_text

    if not args.opt:
        raise UserError("nothing to evaluate: name the option files of tests with -opt")
    check_files(args, "csv", "markdown")
    tests = _results_files(args.opt, args.force_yml)
    failed = []
    scores = []
    for (option_file, name), (files, metrics) in tests.items():
        known = args.reuse and _are_known(metrics, name, files)
        if not known and not _test(option_file, args.force_yml):
            failed.append(option_file)
        elif not all(file.is_file() for file in files):
            sys.stderr.write(f"{option_file}: its test gives no figures: it needs a ground truth and val: metrics\n")
            failed.append(option_file)
        else:
            scores += [score for file in files for score in read_scores(name, file)]
    tables = score_tables(scores)
    if tables:
        sys.stdout.write(f"{tables}\n")
    if args.markdown is not None:
        write_text(args.markdown, f"{tables}\n")
    if args.csv is not None:
        write_scores(args.csv, scores)
    if failed:
        sys.stderr.write(f"failed, so missing above: {', '.join(failed)}\n")
    return int(bool(failed))


def _results_files(paths: list[str], assignments: list[str]) -> dict[tuple[str, str], tuple[list[Path], set[str]]]:
    """Option file and name of each test → the results files that it writes, one for each data set, and its metrics."""
    from vsrm_arch.config import read_options

    tests: dict[tuple[str, str], tuple[list[Path], set[str]]] = {}
    for path in paths:
        options = read_options(path, assignments, is_train=False)
        name = options["name"]
        same = [other for other, known in tests if known == name]
        if same:
            raise UserError(f"{path}: has the name {name} of {same[0]}, so that its results would replace those")
        sets = [dataset["name"] for dataset in options["datasets"].values()]
        files = [Path("results", name, "visualization", dataset, "metrics.json") for dataset in sets]
        tests[path, name] = files, set(options["val"].get("metrics") or {})
    return tests


def _are_known(metrics: set[str], name: str, files: list[Path]) -> bool:
    """Whether an earlier test of this name has measured all of these."""
    from vsrm_arch.evaluation import read_scores

    return all(file.is_file() and metrics <= {score.metric for score in read_scores(name, file)} for file in files)


def _test(option_file: str, assignments: list[str]) -> bool:
    """Runs ``basicsr test``, its log on standard error; whether it went well."""
    import subprocess

    command = [sys.executable, "-m", "vsrm_arch", "test", "-opt", option_file]
    command += ["--force_yml", *assignments] if assignments else []
    # A process of its own: BasicSR sets up logging and the device once a process.
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0
