"""Reading many images in threads: in order, and those left out are reported."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

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
    """`work(task)` of each task, in their order, without those that raise BrokenImage."""
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
            except BrokenImage as error:
                left_out.add(error)
            else:
                yield result
    finally:
        pool.shutdown(cancel_futures=True)
