"""Errors that a user can mend: the command line prints them as one line, without a traceback."""

__all__ = ["UserError"]


class UserError(Exception):
    """A fault in what the user gave: a file, a key, a size, a device.

    The message is one line that says what is wrong, where, and how to mend it.
    """
