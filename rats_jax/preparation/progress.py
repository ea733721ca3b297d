"""How far a long piece of work is, and how long it will take: in place on a terminal."""

import sys
import time

from rats_jax.data.counted import counted
from rats_jax.voice import say

SECONDS_ON_TERMINAL, SECONDS_IN_PIPE = 0.5, 10


class Progress:
    """Lines such as "train: 412,300 of 1,281,167 images, 1,912 images/s, 210 MB/s, 7:34 left".

    Args:
      label: what is worked on.
      total, done: images, in all and before the start.
      bytes_left: what the work will read, by which the time left is estimated.

    Attributes:
      interval: seconds between two looks.
    """

    interval = SECONDS_ON_TERMINAL

    def __init__(self, label: str, *, total: int, done: int, bytes_left: int):
        self._label, self._total, self._done, self._bytes_left = label, total, done, bytes_left
        self._in_place = sys.stdout.isatty()
        self._start = self._shown = time.monotonic()

    def show(self, images: int, bytes_read: int) -> None:
        """Images and bytes since the start; prints when it is time to."""
        now = time.monotonic()
        if now - self._shown < (SECONDS_ON_TERMINAL if self._in_place else SECONDS_IN_PIPE):
            return
        self._shown = now
        seconds = now - self._start
        line = (
            f"{self._label}: {self._done + images:,} of {counted(self._total, 'image')}, "
            f"{images / seconds:,.0f} images/s, {bytes_read / seconds / 1e6:,.0f} MB/s"
        )
        if bytes_read:
            line += f", {_clock(seconds * (self._bytes_left - bytes_read) / bytes_read)} left"
        if self._in_place:
            print(f"\r{line}\x1b[K", end="", flush=True)
        else:
            say(line)

    def close(self) -> None:
        """Takes the line off the terminal."""
        if self._in_place:
            print("\r\x1b[K", end="", flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
