"""Runs BasicSR's stock training pipeline on the tiny parts, in the current folder; flags as BasicSR's.

TINY_KILL=iteration:5 ends the process, as kill -9 does, before iteration 5; TINY_KILL=write:3 in the middle of the
third checkpoint file.
"""

import os
import signal
import sys
from pathlib import Path

import tiny  # noqa: F401
from basicsr.train import train_pipeline

from vsrm_arch.errors import UserError
from vsrm_arch.models import RecurrentVSRModel, atomic


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
    kill_as_told()
    try:
        train_pipeline(str(Path.cwd()))
    except UserError as error:
        sys.exit(f"error: {error}")
