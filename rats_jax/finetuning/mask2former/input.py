"""The batches of a process, prepared on its device while earlier steps run."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from rats_jax.data.pipeline import BatchStream, open_batches
from rats_jax.finetuning.mask2former.opened import OpenRun
from rats_jax.finetuning.mask2former.targets import Part, parts_of
from rats_jax.voice import say


class Prepared(NamedTuple):
    """The images of a step: parts on the device, and what `BatchStream` says of them. masks: the
    number of masks of each image."""

    parts: list[Part]
    masks: list[int]
    index: np.ndarray
    unreadable: dict[int, str]
    replaced: int


class Batches:
    """Endless; a thread prepares `ahead` batches while the device is busy."""

    def __init__(self, stream: BatchStream, run: OpenRun):
        self._stream, self._run, self._waited = stream, run, 0.0
        self._thread = ThreadPoolExecutor(1, "batches")
        self._coming: deque[Future] = deque()
        for _ in range(max(run.config.data.prefetch, 1)):
            self._coming.append(self._thread.submit(self._prepare))

    def next(self) -> Prepared:
        began = time.perf_counter()
        prepared = self._coming.popleft().result()
        self._waited += time.perf_counter() - began
        self._coming.append(self._thread.submit(self._prepare))
        return prepared

    def take_seconds_waited(self) -> float:
        """The seconds since the last call in which `next` has waited."""
        waited, self._waited = self._waited, 0.0
        return waited

    def close(self) -> None:
        self._stream.close()  # the thread may be waiting for it
        self._thread.shutdown(cancel_futures=True)

    def _prepare(self) -> Prepared:
        run = self._run
        batch = next(self._stream)
        parts = parts_of(batch, run.config.optimizer.accumulation, run.processes.device)
        masks = [len(target.classes) for part in parts for target in part.targets]
        return Prepared(parts, masks, batch["index"], batch["unreadable"], batch["replaced"])


@contextmanager
def open_input(run: OpenRun, start: int) -> Iterator[Batches]:
    """The batches of the steps after `start`: the rows of this process."""
    config, data = run.config, run.config.data
    stream = open_batches(
        run.source,
        samples=run.samples,
        seed=config.seed,
        batch_size=config.optimizer.batch_size,
        start_step=start,
        workers=data.workers,
        threads=data.threads,
        rows=run.processes.rows(config.optimizer.batch_size),
    )
    say(
        f"input: workers {data.workers}, threads {data.threads}, "
        f"{stream.bytes / 2**20:,.1f} MB of batches in host memory"
    )
    batches = Batches(stream, run)
    try:
        yield batches
    finally:
        batches.close()
