"""The exceptions that entry points turn into one line and an exit status, and these statuses."""

import signal

FAILED = 2  # an error of the user
LOST = 75  # another process ended: the same command may resume (EX_TEMPFAIL)
SAVED = 85  # SIGTERM, after the state was saved: the same command resumes
INTERRUPTED = 128 + signal.SIGINT


class UserError(Exception):
    """An error that the user can fix: the message names the cause and the fix.

    Entry points print it as one line, without a traceback, and exit with status 2.
    """


class BrokenImage(Exception):
    """An image that cannot be read, or has no label; the message names it."""


class Stopped(Exception):
    """A run was asked to end, and its state is saved: the same command resumes it.

    Attributes:
      status: the exit status of the command.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status
