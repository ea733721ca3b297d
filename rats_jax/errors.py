"""The exceptions that entry points turn into a line and an exit status, and these statuses."""

import signal

FAILED = 2  # a mistake of the user
LOST = 75  # another process ended: the same command may resume (EX_TEMPFAIL)
SAVED = 85  # SIGTERM, after the state was saved: the same command resumes
INTERRUPTED = 128 + signal.SIGINT


class UserError(Exception):
    """Something the user can put right: the message names the thing and the remedy.

    Entry points print it as one line, without a traceback, and exit with status 2.
    """


class BrokenImage(Exception):
    """An image that cannot be read, or has no label; the message names it."""


class Stopped(Exception):
    """A run was asked to end, and its state is saved: the same command goes on.

    Attributes:
      status: with which the command ends.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status
