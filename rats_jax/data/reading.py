"""Reads many images in threads, in order and in batches, and reports those that are left out."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from rats_jax.errors import BrokenImage, UserError
from rats_jax.progress import Progress
from rats_jax.voice import say


class LeftOut:
    """The images that are left out. Each is reported once; `lines` has them in the order found."""

    def __init__(self, *, skip_broken: bool):
        self._skip_broken = skip_broken
        self._lines: dict[str, None] = {}

    @property
    def lines(self) -> list[str]:
        return list(self._lines)

    def add(self, error: BrokenImage | UserError) -> None:
        """Leaves out the image that the error names. Raises UserError if that is not allowed."""
        line = str(error)
        if not self._skip_broken:
            raise UserError(f"{line} (or skip it with --skip_broken)") from error
        if line not in self._lines:
            self._lines[line] = None
            say(f"warning: skipped: {line}")


def in_threads(
    work: Callable[[Any], Any],
    tasks: Iterable,
    left_out: LeftOut,
    progress: Progress,
    *,
    ahead: int,
    threads: int | None = None,
) -> Iterator:
    """Yields `work(task)` for each task, in order. Tasks that raise BrokenImage or UserError, whose
    messages name an image, are added to `left_out` instead. `progress` counts both. threads: one
    for each core by default."""
    waiting: deque[Future] = deque()
    pool = ThreadPoolExecutor(threads or max(os.cpu_count() or 1, 2))
    try:
        tasks = iter(tasks)
        while True:
            for task in tasks:
                waiting.append(pool.submit(work, task))
                if len(waiting) > ahead:
                    break
            if not waiting:
                return
            try:
                result = waiting.popleft().result()
            except (BrokenImage, UserError) as error:
                left_out.add(error)
            else:
                yield result
            progress.add(1)
    finally:
        pool.shutdown(cancel_futures=True)


def in_batches(
    work: Callable[[Any], Any],
    tasks: Iterable,
    left_out: LeftOut,
    progress: Progress,
    *,
    size: int,
) -> Iterator[list]:
    """Yields the results of `in_threads` in lists of `size`; the last may be shorter.

    Tasks are read two batches ahead. If an image is left out, the next one takes its place.

    Raises:
      UserError: an image is broken and may not be left out.
    """
    results = in_threads(work, tasks, left_out, progress, ahead=2 * size)
    with closing(results):
        while batch := list(islice(results, size)):
            yield batch


def padded(rows: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Stacks arrays of one shape and adds zeros up to [size, ...], so that one compiled program
    serves batches of any length."""
    array = np.zeros((size, *rows[0].shape), rows[0].dtype)
    array[: len(rows)] = rows
    return array
