"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Something the user can put right: the message names the thing and the remedy.

    Entry points print it as one line, without a traceback, and exit with status 2.
    """
