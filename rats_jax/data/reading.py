"""Reading many images in threads: in order, in batches, and those left out are reported."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from rats_jax.errors import BrokenImage, UserError
from rats_jax.voice import say


class LeftOut:
    """The images that are left out, each told once; `lines` in the order of meeting them."""

    def __init__(self, *, skip_broken: bool):
        self._skip_broken = skip_broken
        self._lines: dict[str, None] = {}

    @property
    def lines(self) -> list[str]:
        return list(self._lines)

    def add(self, error: BrokenImage | UserError) -> None:
        """Leaves out the image that the error names. Raises UserError if none may be."""
        line = str(error)
        if not self._skip_broken:
            raise UserError(f"{line} (or leave it out with --skip_broken)") from error
        if line not in self._lines:
            self._lines[line] = None
            say(f"warning: skipped: {line}")


def in_threads(
    work: Callable[[Any], Any], tasks: Iterable, left_out: LeftOut, *, ahead: int
) -> Iterator:
    """`work(task)` of each task, in their order, without those that raise BrokenImage or UserError,
    which name an image."""
    waiting: deque[Future] = deque()
    pool = ThreadPoolExecutor(max(os.cpu_count() or 1, 2))
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
    finally:
        pool.shutdown(cancel_futures=True)


def in_batches(
    work: Callable[[Any], Any], tasks: Iterable, left_out: LeftOut, *, size: int
) -> Iterator[list]:
    """The results of `in_threads`, so many at a time and fewer at the end; read two batches ahead
    of their use. What is left out of a batch is made up for by the next.

    Raises:
      UserError: of a broken image that may not be left out.
    """
    results = in_threads(work, tasks, left_out, ahead=2 * size)
    with closing(results):
        while batch := list(islice(results, size)):
            yield batch


def padded(rows: Sequence[np.ndarray], size: int) -> np.ndarray:
    """[size, ...]: arrays of one shape, and zeros beyond them, so that one program is compiled for
    batches of any length."""
    array = np.zeros((size, *rows[0].shape), rows[0].dtype)
    array[: len(rows)] = rows
    return array
