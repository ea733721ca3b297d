"""From a source to batches of crops that depend on nothing but (seed, step, global batch).

Position k of the endless sample order is image `shuffle(seed, k)`, cropped with random numbers
keyed by (seed, k). Step t of global batch G is positions tG to (t+1)G, and process p of P takes
the p-th consecutive share. So the assembled global batch is the same for any number of
processes, workers and threads, and resuming needs the step alone.
"""

import math
import os
import shutil
import signal
import threading
from multiprocessing import parent_process

import grain
import numpy as np
from absl import flags

from rats_jax.data.crops import GLOBAL_CROPS, MultiCrop
from rats_jax.data.sources import Source, UnreadableImage, decode
from rats_jax.errors import UserError

# Samples are prepared and moved between processes in chunks, at most this many: with whole
# batches of 1,024 (590 MB) the first one would take a single worker seconds, and each would hold
# several in memory.
CHUNK = 16
TRIES = 100  # consecutive unreadable images before the data set is declared broken


def open_batches(
    source: Source,
    *,
    crops: MultiCrop,
    seed: int,
    batch_size: int,
    start_step: int,
    workers: int,
    threads: int,
    process_index: int = 0,
    process_count: int = 1,
) -> "BatchStream":
    """The endless batches of one process, from `start_step` on.

    Args:
      source: the images.
      crops: what to cut out of each.
      seed: 0 to 2^32 - 1; decides order and crops.
      batch_size: global batch, divisible by `process_count`.
      start_step: step of the first batch.
      workers: processes that decode and crop; 0 does it in this process.
      threads: decoding threads of each worker, or of this process.
      process_index, process_count: this process among those that train together.

    Raises:
      UserError: the batch does not divide, or shared memory is too small for the workers.
    """
    if batch_size % process_count:
        raise UserError(
            f"batch size {batch_size} does not divide by {process_count} processes; "
            "choose a multiple"
        )
    share = batch_size // process_count
    chunk = math.gcd(share, CHUNK)
    per_batch = share // chunk

    samples = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    samples = samples.random_map(_LoadAndCrop(source, crops))
    chunks = samples[start_step * batch_size :].batch(chunk)
    chunks = _ShareOfProcess(chunks, per_batch, process_index, process_count)
    ahead = per_batch if workers else max(per_batch, 2 * threads)
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=threads if workers else ahead
    )
    dataset = chunks.to_iter_dataset(options)
    if workers:
        buffered = math.ceil(ahead / workers)
        _check_shared_memory(workers * (buffered + 2) * chunk * _sample_bytes(crops))
        if not flags.FLAGS.is_parsed():  # grain reads its flags, also outside absl.app
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=buffered),
            worker_init_fn=_init_worker,
        )
    return BatchStream(iter(dataset), per_batch)


class BatchStream:
    """Endless iterator over the batches of this process, b = global batch / processes:

      "global": uint8 [b, 2, S, S, 3]
      "local": uint8 [b, V, s, s, 3]
      "index": int64 [b], the source index that the crops show
      "unreadable": int64 [b], the index that was drawn but could not be read, so that the next
        readable one took its place; -1 where all was well

    Close it, or leave its `with` block, to end its threads and worker processes.
    """

    def __init__(self, chunks: grain.DatasetIterator, per_batch: int):
        self._chunks = chunks
        self._per_batch = per_batch

    def __iter__(self) -> "BatchStream":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        chunks = [next(self._chunks) for _ in range(self._per_batch)]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}

    def close(self) -> None:
        self._chunks.close()

    def __enter__(self) -> "BatchStream":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class _LoadAndCrop(grain.transforms.RandomMap):
    def __init__(self, source: Source, crops: MultiCrop):
        self._source = source
        self._crops = crops

    def random_map(self, drawn: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        index, image = _first_readable(self._source, drawn)
        return {
            **self._crops(image, rng),
            "index": np.int64(index),
            "unreadable": np.int64(-1 if index == drawn else drawn),
        }


def _first_readable(source: Source, drawn: int) -> tuple[int, np.ndarray]:
    """The image at `drawn`, or the next one that can be read."""
    failures = []
    for offset in range(min(TRIES, len(source))):
        index = (drawn + offset) % len(source)
        try:
            return index, decode(source[index][0])
        except (OSError, UnreadableImage) as error:
            failures.append((index, error))
    files = getattr(source, "files", None)
    named = "; ".join(
        f"{files[index] if files is not None else f'image {index}'} ({error})"
        for index, error in failures[:3]
    )
    raise UserError(
        f"{len(failures)} images in a row cannot be read: {named}; "
        "check that config.data.path is still mounted and that its files are whole"
    )


class _ShareOfProcess(grain.MapDataset):
    """Of every `per_batch * process_count` chunks, the process's consecutive `per_batch`."""

    def __init__(
        self, chunks: grain.MapDataset, per_batch: int, process_index: int, process_count: int
    ):
        super().__init__(chunks)
        self._per_batch = per_batch
        self._process_index = process_index
        self._process_count = process_count

    def __len__(self) -> int:
        return len(self._parent) // self._process_count

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        step, chunk = divmod(index, self._per_batch)
        return self._parent[
            (step * self._process_count + self._process_index) * self._per_batch + chunk
        ]


def _init_worker(worker: int, worker_count: int) -> None:
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group: the parent decides when
    # workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent_process().join()  # a killed parent closes no iterator
    os._exit(1)


def _sample_bytes(crops: MultiCrop) -> int:
    return 3 * (GLOBAL_CROPS * crops.global_size**2 + crops.local_crops * crops.local_size**2)


def _check_shared_memory(needed: int, folder: str = "/dev/shm") -> None:
    # A worker that writes past the end of a small tmpfs is killed by SIGBUS without a word.
    if os.path.isdir(folder) and shutil.disk_usage(folder).free < needed:
        raise UserError(
            f"{folder} has less free space than the {needed / 2**20:.0f} MB that the data workers "
            "may fill; enlarge it (docker run --shm-size=8g) or lower data.workers (0 uses threads)"
        )
