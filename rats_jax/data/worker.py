"""The work of a worker: it reads images of the source and writes samples into a batch.

A worker process loads only this module and its imports: do not import grain or JAX here.
"""

import errno
import math
import multiprocessing
import os
import shutil
from typing import NamedTuple

import numpy as np

from rats_jax.data.counted import counted
from rats_jax.data.decode import UnreadableImage
from rats_jax.data.samples import Fields, Samples
from rats_jax.data.sources import Source
from rats_jax.errors import UserError
from rats_jax.paths import printable

#: Errors that are not the fault of an image: too many open files, no memory.
OF_THE_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
TRIES = 100  # consecutive unreadable images before the data set is declared broken


class Buffers:
    """A ring of batches, each a dict of arrays [share, ...].

    Attributes:
      count, share: number of batches, and of samples per batch.
      bytes: size of all batches.
    """

    def __init__(self, count: int, share: int, fields: Fields, *, shared: bool):
        self.count, self.share, self._fields = count, share, fields
        sample = sum(
            math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in fields.values()
        )
        self._each = -(-share * sample // 64) * 64  # bytes of a batch, aligned
        self.bytes = count * self._each
        if shared:
            _check_shared_memory(self.bytes)
            self._memory = multiprocessing.get_context("spawn").RawArray("B", self.bytes)
        else:
            self._memory = np.empty(self.bytes, np.uint8)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        arrays, start = {}, i * self._each
        for name, (shape, dtype) in self._fields.items():
            shape = (self.share, *shape)
            arrays[name] = np.ndarray(shape, dtype, self._memory, start)
            start += arrays[name].nbytes
        return arrays


class Task(NamedTuple):
    buffer: int
    row: int  # of the first sample in the batch
    positions: list[int]  # in the sample order, one per sample
    drawn: list[int]  # source indices


class Filled(NamedTuple):
    indices: list[int]  # of the images used, one per sample
    unreadable: dict[int, str]  # reasons by source index
    replaced: int  # number of samples that do not show the image drawn


class Fill:
    """The work of a lane: reads and decodes images, and writes their samples into a buffer.

    Args:
      key: uint64 [2], for the Philox generators. That of position k starts at the counter
        (0, 0, 0, k).
    """

    def __init__(self, source: Source, samples: Samples, buffers: Buffers, key: np.ndarray):
        self._source, self._samples, self._buffers, self._key = source, samples, buffers, key

    def __call__(self, task: Task) -> Filled:
        arrays = self._buffers[task.buffer]
        rng = np.random.Generator(np.random.Philox(key=self._key))
        fresh = rng.bit_generator.state
        indices, unreadable = [], {}
        for i, drawn in enumerate(task.drawn):
            out = {name: array[task.row + i] for name, array in arrays.items()}
            fresh["state"]["counter"] = np.array([0, 0, 0, task.positions[i]], np.uint64)
            rng.bit_generator.state = fresh
            indices.append(self._first_readable(drawn, rng, out, unreadable))
        replaced = sum(a != b for a, b in zip(indices, task.drawn, strict=True))
        return Filled(indices, unreadable, replaced)

    def _first_readable(self, drawn: int, rng, out, unreadable: dict[int, str]) -> int:
        """Writes the image at `drawn`, or the next one that can be read; returns its index."""
        source, failures = self._source, []
        for offset in range(min(TRIES, len(source))):
            index = (drawn + offset) % len(source)
            try:
                self._samples.write(source[index][0], rng, out)
                return index
            except MemoryError as error:
                raise UserError(
                    f"{name_of(source, index)}: not enough memory to read it; lower "
                    "config.data.workers or config.data.threads, or make the image smaller"
                ) from error
            except (OSError, UnreadableImage) as error:
                if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM:
                    raise UserError(
                        f"{name_of(source, index)}: {error.strerror}; free this resource, or raise "
                        "the limit (ulimit -n), and start again"
                    ) from error
                unreadable[index] = printable(str(error))
                failures.append(index)
        named = "; ".join(
            f"{name_of(source, index)} ({unreadable[index]})" for index in failures[:3]
        )
        raise UserError(
            f"{counted(len(failures), 'image')} in a row cannot be read: {named}; check that the "
            "data set is still mounted and that its files are complete"
        )


def name_of(source: Source, index: int) -> str:
    """The name of an image in messages: its file, if the source has names."""
    files = getattr(source, "files", None)
    return printable(str(files[index])) if files is not None else f"image {index}"


def _check_shared_memory(needed: int, folder: str = "/dev/shm") -> None:
    # A process that writes past the end of a small tmpfs is killed by SIGBUS, without a message.
    if os.path.isdir(folder) and shutil.disk_usage(folder).free < needed:
        raise UserError(
            f"{folder} has less free space than the {needed / 2**20:.0f} MB that the batches of "
            "the data workers need; enlarge it (docker run --shm-size=8g) or set data.workers=0"
        )
