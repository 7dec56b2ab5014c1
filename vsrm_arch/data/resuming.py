"""The training clips after a resumption: those that have not been seen, cut and flipped anew."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler

__all__ = ["ResumableSampler", "seed_worker"]


class ResumableSampler(EnlargedSampler):
    """BasicSR's sampler, which shuffles by the epoch's number, with one epoch that may begin in its midst.

    Args:
        dataset: The training set.
        num_replicas: Number of processes.
        rank: Of this process.
        ratio: Repeats of the data set in an epoch.
    """

    def __init__(self, dataset: Any, num_replicas: int, rank: int, ratio: int = 1) -> None:
        super().__init__(dataset, num_replicas, rank, ratio)
        self._resumed_epoch, self._seen = -1, 0

    def skip(self, epoch: int, samples: int) -> None:
        """Leaves out the first samples of this process in an epoch, which a run before has seen.

        Args:
            epoch: The epoch's number.
            samples: How many. More than there are, or fewer than none, cannot have been seen: epochs had another length
                then, and nothing is left out.
        """
        self._resumed_epoch, self._seen = epoch, samples if 0 <= samples <= len(self) else 0

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self._seen if self.epoch == self._resumed_epoch else 0, None)


def seed_worker(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    """Seeds Python's and NumPy's generators of a loader's worker; takes the place of BasicSR's ``worker_init_fn``.

    PyTorch has seeded the worker by the random state of its process, hence by ``manual_seed`` and the rank, and anew in
    every epoch. The arguments are BasicSR's.
    """
    worker_seed = torch.initial_seed() % 2**32
    random.seed(worker_seed)
    np.random.seed(worker_seed)
