"""Test several networks and set their results side by side, as the paper's Table 2.

Runs `basicsr test` on each option file, in a process of its own, and prints a table for each data set: a row for each
clip, a column for each network. What is measured, and how, each file says: weights, data set, RGB or Y, the centre
frame or all, flips.
"""

import argparse
import sys
from pathlib import Path

from vsrm_arch.cli.measuring import check_files, progress
from vsrm_arch.cli.testing import TestFile, add_tests, check_needs, read_tests, run_test
from vsrm_arch.errors import UserError

__all__ = ["add_arguments", "run"]

_EPILOG = """Columns bear the names of the tests (name in the option file). Where a test compares with bicubic
enlargement (val: compare_bicubic: true), it has a column as well. Tests run in processes of their own, which know the
networks, data sets and metrics of BasicSR and of this package.

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
    add_tests(parser)
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
    from vsrm_arch.bench import NetworkFile, check_count
    from vsrm_arch.evaluation import BICUBIC, MEAN, read_scores, score_tables, write_scores
    from vsrm_arch.files import write_text

    if not args.opt:
        raise UserError("nothing to evaluate: name the option files of tests with -opt")
    check_files(args, "csv", "markdown")
    tests = read_tests(args.opt, args.force_yml, reserved=[BICUBIC, MEAN])
    with progress():
        for test in tests:
            check_count(NetworkFile.of(test.path, test.options["network_g"]))
    known = [args.reuse and _are_known(test) for test in tests]
    for test, reused in zip(tests, known, strict=True):
        if not reused:
            check_needs(test)
    failed = []
    scores = []
    for test, reused in zip(tests, known, strict=True):
        if not reused and not run_test(test, args.force_yml):
            failed.append(test.path)
        elif not all(file.is_file() for file in _files(test)):
            sys.stderr.write(f"{test.path}: its test gives no figures: it needs a ground truth and val: metrics\n")
            failed.append(test.path)
        else:
            scores += [score for file in _files(test) for score in read_scores(test.name, file)]
    # Without figures the files stay as they are: they may hold those of an earlier evaluation.
    if scores:
        tables = score_tables(scores)
        sys.stdout.write(f"{tables}\n")
        if args.markdown is not None:
            write_text(args.markdown, f"{tables}\n")
        if args.csv is not None:
            write_scores(args.csv, scores)
    if failed:
        sys.stderr.write(f"failed, so missing above: {', '.join(failed)}\n")
    return int(bool(failed))


def _files(test: TestFile) -> list[Path]:
    """The results files that a test writes, one for each data set."""
    return [test.folder(dataset) / "metrics.json" for dataset in test.datasets]


def _are_known(test: TestFile) -> bool:
    """Whether an earlier test has measured all data sets in the same way."""
    from vsrm_arch.evaluation import read_scores

    try:
        for file in _files(test):
            read_scores(test.name, file)
    except UserError:  # gone or damaged
        return False
    return all(test.is_known(dataset) for dataset in test.datasets)
