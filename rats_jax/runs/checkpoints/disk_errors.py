"""Finds the disk error behind an exception, and how to fix it."""

import errno
import re

REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make the folder writable"),
}


def error_number(error: BaseException) -> int | None:
    """The errno of the operating system error that caused this one, if there is one."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, OSError) and cause.errno:
            return cause.errno
        if found := re.search(r"(?:os_error_code='|OS error )(\d+)", str(cause)):  # of tensorstore
            return int(found[1])
        cause = cause.__cause__
    return None
