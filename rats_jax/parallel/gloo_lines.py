"""Removes the lines that gloo writes from the output of a run.

Gloo is the communication library for CPUs. From C++ it writes a line to standard output for each
group of processes, also into the middle of other lines, and no setting prevents this.
"""

import os
import sys
import threading
from typing import BinaryIO


def drop_gloo_lines() -> None:
    """Installs a filter that drops gloo's lines from what native code writes to standard output.
    Python's output is not filtered: `sys.stdout` still writes to the original file."""
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
            except OSError:  # the reader of the output is gone
                return
