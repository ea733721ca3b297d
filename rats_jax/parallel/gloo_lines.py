"""Keeps the lines that gloo writes out of a run's report.

Gloo carries what CPUs send each other. It writes a line to the standard output for each group of
processes, from C++ and without a setting to stop it, also into the middle of other lines.
"""

import os
import sys
import threading
from typing import BinaryIO


def drop_gloo_lines() -> None:
    """From here on, what native code writes to the standard output passes a filter that drops
    gloo's lines. Python's own output does not: `sys.stdout` writes to where it did before."""
    sys.stdout.flush()
    report = os.fdopen(os.dup(1), "w", buffering=1, errors="backslashreplace")
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.close(writing)
    sys.stdout = report
    pipe = os.fdopen(reading, "rb")
    threading.Thread(target=_pass_on, args=(pipe, report.fileno()), daemon=True).start()


def _pass_on(pipe: BinaryIO, report: int) -> None:
    for line in pipe:
        if b"[Gloo]" not in line and b"peer ranks" not in line:
            try:
                os.write(report, line)
            except OSError:  # nobody reads the report any more
                return
