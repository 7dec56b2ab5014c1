"""Faults in data, one line each, also when they were met in a worker process of a data loader."""

from vsrm_arch.errors import UserError

__all__ = ["DataError"]


class DataError(UserError):
    """A missing, unreadable or ill-fitting file of a data set."""
