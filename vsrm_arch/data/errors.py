"""Faults in data, one line each, also when they were met in a worker process of a data loader."""

from vsrm_arch.errors import UserError

__all__ = ["DataError"]


class DataError(UserError):
    """A missing, unreadable or ill-fitting file of a data set.

    A data loader raises a worker's exception again in the main process, its message replaced by the worker's whole
    traceback. What the user is to read is that traceback's last line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().rpartition(f"{type(self).__name__}: ")[2])
