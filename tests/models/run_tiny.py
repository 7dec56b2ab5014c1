"""Runs BasicSR's stock training pipeline on the tiny parts, again and again.

Each run, with a folder, flags, an environment and a file for its output, is a job of ``forking``.

A run writes the clips and losses of every iteration to losses.jsonl, unrounded. TINY_KILL=iteration:5 ends it, as kill
-9 does, before iteration 5; TINY_KILL=write:3 in the middle of the third file that is written whole or not at all.
"""

import json
import os
import signal
import sys
from pathlib import Path

import forking
import tiny  # noqa: F401
from basicsr.train import train_pipeline

from vsrm_arch import files
from vsrm_arch.errors import UserError
from vsrm_arch.models import RecurrentVSRModel


def write_losses():
    optimize = RecurrentVSRModel.optimize_parameters

    def optimize_and_write(self, current_iter):
        optimize(self, current_iter)
        if self.opt["rank"] == 0:
            with Path("losses.jsonl").open("a") as file:
                line = {"iteration": current_iter, "clips": self.keys, "losses": self.log_dict}
                file.write(json.dumps(line) + "\n")

    RecurrentVSRModel.optimize_parameters = optimize_and_write


def kill_as_told():
    what, _, number = os.environ.get("TINY_KILL", "").partition(":")
    if what == "iteration":
        optimize = RecurrentVSRModel.optimize_parameters

        def optimize_or_die(self, current_iter):
            if current_iter == int(number):
                os.kill(os.getpid(), signal.SIGKILL)
            optimize(self, current_iter)

        RecurrentVSRModel.optimize_parameters = optimize_or_die
    elif what == "write":
        fsync, countdown = os.fsync, [int(number)]

        def sync_or_die(descriptor):
            countdown[0] -= 1
            if not countdown[0]:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            fsync(descriptor)

        files.os.fsync = sync_or_die
        files._sync_folder = lambda folder: None


def run(job):
    sys.argv[1:] = job["flags"]
    write_losses()
    kill_as_told()
    try:
        train_pipeline(job["folder"])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    forking.serve(run)
