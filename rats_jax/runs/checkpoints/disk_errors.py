"""Finds the disk error behind an exception, and how to fix it."""

import errno
import re

REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make the folder writable"),
}


def error_number(error: BaseException) -> int | None:
    """The errno of the operating system error that caused this one, if there is one."""
    while error:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        if found := re.search(r"(?:os_error_code='|OS error )(\d+)", str(error)):  # of tensorstore
            return int(found[1])
        error = error.__cause__
    return None
