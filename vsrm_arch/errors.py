"""Errors that a user can mend: the command line prints them as one line, without a traceback."""

__all__ = ["UserError", "first_line"]


class UserError(Exception):
    """A fault in what the user gave: a file, a key, a size, a device.

    A data loader raises a worker's exception again in the main process, its message replaced by the worker's whole
    traceback. What the user is to read is that traceback's last line: it alone becomes the message.

    Args:
        message: One line that says what is wrong, where, and how to mend it.
    """

    def __init__(self, message: str) -> None:
        if "Traceback (most recent call last)" in message:
            message = message.strip().rpartition(f"{type(self).__name__}: ")[2]
        super().__init__(message)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the error's name if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
