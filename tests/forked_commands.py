"""Runs commands of ours, each in a process forked off this one, which has done the slow imports already.

Reads lines of JSON: a command's arguments, its folder and a file for what it says. A line with its exit status is
written when it has ended. The imports are those of ``import vsrm_arch``: what a command needs beyond, it must import.
"""

import json
import os
import sys
import traceback

import vsrm_arch  # noqa: F401
from vsrm_arch import cli


def run(job):
    os.chdir(job["folder"])
    os.dup2(os.open(job["output"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)
    os.dup2(1, 2)
    sys.argv[:] = ["basicsr", *job["arguments"]]
    # What Python does with an installed script's.
    try:
        status = cli.main()
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main():
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
