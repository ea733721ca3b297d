"""What rats_jax reports, line by line, through the logger "rats_jax" of Python's `logging`.

Without any set-up, reports are printed to standard output. `logging.getLogger("rats_jax")` changes
that: `.setLevel(logging.WARNING)` leaves out everything but warnings, and a handler that is added
to it receives the records in place of standard output. Handlers of the root logger never do.
"""

import logging
import os
import sys
from typing import TextIO

LOGGER = logging.getLogger("rats_jax")

_process: int | None = None  # the number of this process among several


def speak_as(process: int) -> None:
    """This process is one of several: only process 0 reports, each names itself in its errors."""
    global _process
    _process = process


def is_one_of_several() -> bool:
    return _process is not None


def say(message: str) -> None:
    """A line of a report, at once also where output is a pipe; of level WARNING if it begins with
    "warning: ", else INFO."""
    if _process:  # only process 0 reports
        return
    if not LOGGER.handlers:
        LOGGER.addHandler(_Lines())
    LOGGER.propagate = False  # libraries give the root logger handlers, which would repeat it all
    if LOGGER.level == logging.NOTSET:
        LOGGER.setLevel(logging.INFO)
    level = logging.WARNING if message.startswith("warning: ") else logging.INFO
    LOGGER.log(level, "%s", message)


def complain(message: str) -> None:
    """A line on standard error, which names this process if it is one of several."""
    who = "" if _process is None else f"process {_process}: "
    write_line(f"{who}{message}", sys.stderr)


def write_line(line: str, stream: TextIO | None) -> None:
    """Writes and flushes; nothing where the stream is closed, or whoever reads it has ended."""
    if stream is None or getattr(stream, "closed", False):
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = line.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(f"{shown}\n")  # at once: a thread that hears signals also writes lines
        stream.flush()
    except OSError:  # as of `tee` ended by the same Ctrl-C: the run has more to lose
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        write_line(record.getMessage(), sys.stdout)
