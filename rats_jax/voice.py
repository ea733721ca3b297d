"""The reports of rats_jax, line by line, through the logger "rats_jax" of Python's `logging`.

Without any set-up, reports are printed to standard output. `logging.getLogger("rats_jax")` changes
that: `.setLevel(logging.WARNING)` leaves out everything except warnings, and a handler that is
added to it receives the records instead of standard output. Handlers of the root logger do not
receive them.
"""

import logging
import os
import sys
from typing import TextIO

LOGGER = logging.getLogger("rats_jax")

_process: int | None = None  # the number of this process among several


def speak_as(process: int) -> None:
    """Declares this process one of several: only process 0 reports, and each adds its number to its
    errors."""
    global _process
    _process = process


def is_one_of_several() -> bool:
    return _process is not None


def say(message: str) -> None:
    """Writes a line of a report, without buffering even if the output is a pipe. Its level is
    WARNING if it begins with "warning: ", else INFO."""
    if _process:  # only process 0 reports
        return
    if not LOGGER.handlers:
        LOGGER.addHandler(_Lines())
    LOGGER.propagate = False  # handlers of the root logger, from libraries, would repeat each line
    if LOGGER.level == logging.NOTSET:
        LOGGER.setLevel(logging.INFO)
    level = logging.WARNING if message.startswith("warning: ") else logging.INFO
    LOGGER.log(level, "%s", message)


def complain(message: str) -> None:
    """Writes a line to standard error, with the number of this process if it is one of several."""
    who = "" if _process is None else f"process {_process}: "
    write_line(f"{who}{message}", sys.stderr)


def write_line(line: str, stream: TextIO | None) -> None:
    """Writes and flushes a line. Does nothing if the stream is closed or its reader has ended."""
    if stream is None or getattr(stream, "closed", False):
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = line.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(f"{shown}\n")  # one call, since the thread that handles signals also writes
        stream.flush()
    except OSError:  # such as a `tee` that the same Ctrl-C ended: the run must not fail for this
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        write_line(record.getMessage(), sys.stdout)
