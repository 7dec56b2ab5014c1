"""Runs BasicSR's stock training pipeline on the tiny parts, in the current folder; flags as BasicSR's.

Writes the losses of every iteration to losses.jsonl, unrounded. TINY_KILL=iteration:5 ends the process, as kill -9
does, before iteration 5; TINY_KILL=write:3 in the middle of the third checkpoint file.
"""

import json
import os
import signal
import sys
from pathlib import Path

import tiny  # noqa: F401
from basicsr.train import train_pipeline

from vsrm_arch.errors import UserError
from vsrm_arch.models import RecurrentVSRModel, atomic


def write_losses():
    optimize = RecurrentVSRModel.optimize_parameters

    def optimize_and_write(self, current_iter):
        optimize(self, current_iter)
        if self.opt["rank"] == 0:
            with Path("losses.jsonl").open("a") as file:
                file.write(json.dumps({"iteration": current_iter} | self.log_dict) + "\n")

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

        atomic.os.fsync = sync_or_die
        atomic._sync_folder = lambda folder: None


if __name__ == "__main__":
    write_losses()
    kill_as_told()
    try:
        train_pipeline(str(Path.cwd()))
    except UserError as error:
        sys.exit(f"error: {error}")
