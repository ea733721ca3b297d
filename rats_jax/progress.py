"""Reports the progress of long work, and the time that is left."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rats_jax.data.counted import counted
from rats_jax.voice import say

SECONDS_BETWEEN_LINES, SECONDS_ON_TERMINAL = 20.0, 0.5


class Progress:
    """Lines such as "train: 412,300 of 1,281,167 images, 1,912 images/s, 210 MB/s, about 7 min
    left", every few seconds.

    Args:
      label: the name of the work.
      total, done: the number of images in total, and of those done before the start.
      bytes_left: the bytes that the work will read, if known. Then the time left is estimated from
        them, and both rates are shown.
      in_place: on a terminal, update one line in place; nothing else may be printed meanwhile.
    """

    def __init__(
        self, label: str, total: int, *, done: int = 0, bytes_left: int = 0, in_place: bool = False
    ):
        self._label, self._total, self._done, self._bytes_left = label, total, done, bytes_left
        self._in_place = in_place and sys.stdout.isatty()
        self._images = 0
        self._start = self._shown = time.monotonic()

    def add(self, images: int) -> None:
        """Adds to the number of finished images; prints if a line is due."""
        self.show(self._images + images)

    def show(self, images: int, bytes_read: int = 0) -> None:
        """Sets the number of images and bytes since the start; prints if a line is due."""
        self._images, now = images, time.monotonic()
        every = SECONDS_ON_TERMINAL if self._in_place else SECONDS_BETWEEN_LINES
        if now - self._shown < every:
            return
        self._shown, seconds = now, now - self._start
        parts = [f"{self._done + images:,} of {counted(self._total, 'image')}"]
        share = images / (self._total - self._done)
        if self._bytes_left:
            parts.append(f"{images / seconds:,.0f} images/s")
            parts.append(f"{bytes_read / seconds / 1e6:,.0f} MB/s")
            share = bytes_read / self._bytes_left
        if share:
            parts.append(time_left(self._start, share))
        line = f"{self._label}: {', '.join(parts)}"
        if self._in_place:
            print(f"\r{line}\x1b[K", end="", flush=True)
        else:
            say(line)

    def close(self) -> None:
        """Removes the line from the terminal."""
        if self._in_place:
            print("\r\x1b[K", end="", flush=True)


def time_left(began: float, share: float) -> str:
    """Text for the remaining time of work that began at `time.monotonic()` = `began`, and of which
    `share` is done."""
    if share >= 1:
        return "done"
    minutes = (time.monotonic() - began) * (1 / share - 1) / 60
    if minutes > 120:
        return f"about {minutes / 60:.0f} h left"
    return f"about {minutes:.0f} min left" if minutes > 1 else "less than a minute left"


@contextmanager
def reports_time(
    label: str,
    report: Callable[[str], None] = say,
    *,
    seconds_between_lines: float = SECONDS_BETWEEN_LINES,
) -> Iterator[None]:
    """While the block runs, reports "LABEL, 40 s" every few seconds: for work whose end is not
    known, such as compiling."""
    finished, start = threading.Event(), time.monotonic()

    def repeat() -> None:
        while not finished.wait(seconds_between_lines):
            report(f"{label}, {time.monotonic() - start:.0f} s")

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
