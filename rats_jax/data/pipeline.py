"""Makes batches of samples of a source; they depend only on (seed, step, global batch).

Position k of the endless sample order is image `shuffle(seed, k)` of grain. Its crops are drawn
with random numbers keyed by (seed, k). The rows of step t with global batch G are positions tG to
(t+1)G, and a process makes the rows that its devices hold. So the assembled global batch is the
same for any mesh and any number of processes, workers and threads, and resuming needs only the
step.

Workers write samples directly into a ring of batch buffers, which is shared memory if the workers
are processes. Samples are never copied or sent.
"""

import math
from collections.abc import Sequence

import grain
import numpy as np

from rats_jax.data.pool import Processes, Threads
from rats_jax.data.samples import Samples
from rats_jax.data.sources import Source
from rats_jax.data.worker import Buffers, Fill, Filled, Task

CHUNK = 16  # most samples of a task: receiving a result takes as long as a tenth of a sample
BUFFERS = 3  # batches: one is handed out, two are being filled


def sample_order(length: int, seed: int) -> tuple[grain.MapDataset, np.ndarray]:
    """The endless order, whose item k is the source index at position k, and the key (uint64 [2])
    of the Philox generators. The generator of position k starts at the counter (0, 0, 0, k)."""
    order = grain.MapDataset.range(length).seed(seed).shuffle().repeat()
    # This is grain's generator for position k. Asking grain for each one takes twice as long.
    key = order.random_map(lambda _, rng: rng.bit_generator.state["state"]["key"])[0]
    return order, key


def open_batches(
    source: Source,
    *,
    samples: Samples,
    seed: int,
    batch_size: int,
    start_step: int,
    workers: int,
    threads: int,
    rows: Sequence[int] | None = None,
) -> "BatchStream":
    """The endless batches of one process, from `start_step` on.

    Args:
      source: the images.
      samples: makes the sample of an image.
      seed: 0 to 2^32 - 1; determines order and crops.
      batch_size: size of the global batch.
      start_step: step of the first batch.
      workers: number of processes that decode and crop; 0 to do so in this process.
      threads: number of decoding threads in each worker, or in this process.
      rows: rows of the global batch that this process makes, ascending (`device.rows_here`); by
        default all.

    Raises:
      UserError: shared memory is too small for the workers.
    """
    rows = list(range(batch_size) if rows is None else rows)
    share = len(rows)
    lanes = max(workers, 1) * threads
    # If the share is small, more batches are filled at once, so that every lane has two samples.
    count = max(BUFFERS, 1 + math.ceil(2 * lanes / share))
    buffers = Buffers(count, share, samples.fields, shared=workers > 0)
    order, key = sample_order(len(source), seed)
    work = Fill(source, samples, buffers, key)
    if workers:
        advice = "lower config.data.workers"
        pool = Processes(work, processes=workers, threads=threads, ahead=1, advice=advice)
    else:
        pool = Threads(work, threads=threads)
    return BatchStream(
        order,
        buffers,
        pool,
        rows=rows,
        first=start_step * batch_size,
        stride=batch_size,
        chunk=min(CHUNK, max(share * (count - 1) // (2 * lanes), 1)),
    )


class BatchStream:
    """Endless iterator over the batches of this process, dicts of b rows:

      each field of the samples: [b, ...]
      "index": int64 [b], the source index of the image that each sample shows
      "unreadable": {source index: reason}, the images that could not be read
      "replaced": number of samples that show the next readable image instead of the one drawn

    The arrays are buffers that are reused: they are valid until the next batch is requested.
    Close the stream, or leave its `with` block, to end its threads and worker processes.

    Attributes:
      bytes: size of the buffers, which is all the memory that grows with the batch.
    """

    def __init__(self, order, buffers, pool, *, rows: list[int], first: int, stride: int, chunk):
        self._order, self._buffers, self._pool = order, buffers, pool
        self._rows, self._first, self._stride, self._chunk = rows, first, stride, chunk
        self._step = self._submitted = 0  # since the start
        self._filled: dict[int, dict[int, Filled]] = {}  # by step, by first row
        self._errors: dict[int, Exception] = {}  # by step
        self.bytes = buffers.bytes
        for _ in range(buffers.count - 1):
            self._submit()

    def __iter__(self) -> "BatchStream":
        return self

    def __next__(self) -> dict:
        self._submit()  # the buffer handed out last is free
        parts = self._filled[self._step]
        while self._step not in self._errors and len(parts) < self._tasks:
            (step, row), filled, error = self._pool.next_done()
            if error is not None:
                self._errors.setdefault(step, error)
            else:
                self._filled[step][row] = filled
        if self._step in self._errors:
            raise self._errors[self._step]
        del self._filled[self._step]
        batch = self._buffers[self._step % self._buffers.count]
        ordered = [parts[row] for row in sorted(parts)]
        batch["index"] = np.array([i for part in ordered for i in part.indices], np.int64)
        batch["unreadable"] = {i: why for part in ordered for i, why in part.unreadable.items()}
        batch["replaced"] = sum(part.replaced for part in ordered)
        self._step += 1
        return batch

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> "BatchStream":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def _tasks(self) -> int:
        return math.ceil(self._buffers.share / self._chunk)

    def _submit(self) -> None:
        """Submits the tasks of one more batch to the pool."""
        step = self._submitted
        start = self._first + step * self._stride
        self._filled[step] = {}
        for row in range(0, len(self._rows), self._chunk):
            positions = [start + k for k in self._rows[row : row + self._chunk]]
            indices = [int(self._order[k]) for k in positions]
            task = Task(step % self._buffers.count, row, positions, indices)
            self._pool.submit((step, row), task)
        self._submitted += 1
