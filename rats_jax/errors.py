"""The two exceptions that entry points turn into a line and an exit status."""


class UserError(Exception):
    """Something the user can put right: the message names the thing and the remedy.

    Entry points print it as one line, without a traceback, and exit with status 2.
    """


class Stopped(Exception):
    """A run was asked to end, and its state is saved: the same command goes on.

    Attributes:
      status: with which the command ends.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status
