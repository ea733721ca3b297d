"""Runs tasks on all cores, and shows the progress."""

import multiprocessing
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

from rats_jax.data.pool import Processes
from rats_jax.progress import SECONDS_ON_TERMINAL, Progress

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_workers(
    work: Callable[[Task, Callable[[int, int], None]], Result],
    tasks: list[Task],
    *,
    workers: int,
    progress: Progress,
) -> list[Result]:
    """Returns [work(task, count) for task in tasks], and shows the images and bytes counted so far.

    Raises what a task raises, or UserError if a worker has died. The other workers are ended.
    """
    # Images and bytes of every task. Each has one writer, so there is no lock, which a killed
    # worker would never release.
    counts = multiprocessing.get_context("spawn").RawArray("q", 2 * len(tasks))
    results: list[Result | None] = [None] * len(tasks)
    pool = Processes(
        partial(_work, work, counts),
        processes=min(workers, len(tasks)),
        threads=1,
        ahead=0,
        advice="lower --workers",
    )
    try:
        for k, task in enumerate(tasks):
            pool.submit(k, (k, task))
        left = len(tasks)
        while left:
            if done := pool.next_done(SECONDS_ON_TERMINAL):
                if done.error:
                    raise done.error
                results[done.key] = done.result
                left -= 1
            progress.show(sum(counts[::2]), sum(counts[1::2]))
    finally:
        progress.close()
        pool.close()
    return cast(list[Result], results)  # all are set, since no task is left


def _work(work, counts, numbered):
    k, task = numbered

    def count(images: int, bytes_read: int) -> None:
        counts[2 * k] += images
        counts[2 * k + 1] += bytes_read

    return work(task, count)
