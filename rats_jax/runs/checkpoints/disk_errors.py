"""What a disk had to do with an error, and what mends it."""

import errno
import re

REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make the folder writable"),
}


def error_number(error: BaseException) -> int | None:
    """errno of the operating system's error that is behind this one, if one is."""
    while error:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        if told := re.search(r"(?:os_error_code='|OS error )(\d+)", str(error)):  # of tensorstore
            return int(told[1])
        error = error.__cause__
    return None
