"""Ends a run that hangs, and shows where it hung."""

import faulthandler
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import jax

from rats_jax.errors import LOST
from rats_jax.voice import is_one_of_several

FAREWELL_SECONDS = 10  # seconds for the other processes to write their own stacks


class Watchdog:
    """Ends the process if its block saw no `beat` for `seconds` (0: no limit), and writes the
    stacks of all threads to standard error and a file. Exit status 75: the same command can resume.

    If one of several processes hangs, all do, and each shows its own stacks.

    process: the number of this process; by default JAX's.
    """

    def __init__(self, folder: Path, *, seconds: float, process: int | None = None):
        process = jax.process_index() if process is None else process
        self._file = folder / (f"stacks.{process}.txt" if process else "stacks.txt")
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self.beat()
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._over.set()

    def beat(self) -> None:
        """Signals that a step has finished."""
        self._last = time.monotonic()

    def _watch(self) -> None:
        while not self._over.wait(left := self._last + self._seconds - time.monotonic()):
            if left <= 0:
                self._end()

    def _end(self) -> None:
        with suppress(OSError), self._file.open("w", encoding="utf-8") as file:
            faulthandler.dump_traceback(file)
        # In a thread, since writing may block; not by sys.stderr: a hung thread may hold its lock.
        threading.Thread(target=self._tell, daemon=True).start()
        several = jax.process_count() > 1 or is_one_of_several()
        time.sleep(FAREWELL_SECONDS if several else 1)
        os._exit(LOST)

    def _tell(self) -> None:
        os.write(
            2,
            f"error: no step for {self._seconds / 60:g} minutes (config.guards.stall_minutes): "
            f"the run ends; the stack of each thread is below and in {self._file}\n".encode(),
        )
        faulthandler.dump_traceback(2)
