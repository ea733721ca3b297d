"""Moves host batches to the devices before the step that needs them."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Protocol

import jax
import numpy as np

HOST_FIELDS = ("index", "unreadable", "replaced")


class HostBatches(Protocol):
    """An iterator of dicts with a `close()`, such as `pipeline.BatchStream`. Its arrays only have
    to be valid until the next call."""

    def __iter__(self) -> Iterator[dict]: ...

    def __next__(self) -> dict: ...

    def close(self) -> None: ...


def rows_here(sharding: jax.sharding.Sharding, batch_size: int) -> np.ndarray:
    """Rows of a global batch that the devices of this process hold: int64, ascending.

    Several processes make the same rows if a mesh axis across them does not split the images.
    """
    parts = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[part] for part in parts]))


def device_batches(
    stream: HostBatches,
    sharding: jax.sharding.Sharding,
    *,
    batch_size: int | None = None,
    depth: int = 2,
) -> "DeviceBatches":
    """Moves batches to the devices on a background thread, at most `depth` ahead of the consumer.

    Args:
      stream: gives the rows `rows_here` of every global batch; closed together with the result.
      sharding: the sharding of the global arrays along their leading (image) axis.
      batch_size: size of the global batch; by default, that of the stream's batches.
      depth: number of batches that wait on the devices.
    """
    return DeviceBatches(stream, sharding, batch_size, depth)


class DeviceBatches(Iterator):
    """Yields (samples, host) for each batch of a stream such as `pipeline.BatchStream`.

    `samples` are its fields as global arrays [B, ...] on the devices. `host` are the fields
    `HOST_FIELDS` of this process's share, unchanged.

    An exception of the stream is raised in the consumer, after the batches before it.
    """

    def __init__(self, stream: HostBatches, sharding, batch_size: int | None, depth: int):
        self._stream = stream
        self._sharding = sharding
        self._batch_size = batch_size
        self._on_cpu = next(iter(sharding.device_set)).platform == "cpu"
        self._ready = queue.Queue(maxsize=depth)
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self._seconds_waited = 0.0
        self._thread = threading.Thread(target=self._fill, name="device-batches", daemon=True)
        self._thread.start()

    def __next__(self) -> tuple[dict[str, jax.Array], dict]:
        if self._closed.is_set():
            raise ValueError("these batches are closed")
        if self._error is not None:
            raise self._error
        start = time.perf_counter()
        batch = self._ready.get()
        self._seconds_waited += time.perf_counter() - start
        if isinstance(batch, BaseException):
            self._error = batch
            raise batch
        return batch

    def take_seconds_waited(self) -> float:
        """Seconds that the consumer spent waiting for input since the last call."""
        seconds, self._seconds_waited = self._seconds_waited, 0.0
        return seconds

    def close(self) -> None:
        """Ends the stream and the thread. Batches that still wait are dropped."""
        self._closed.set()
        self._stream.close()  # first: the thread may wait for a batch that never comes
        self._thread.join()

    def __enter__(self) -> "DeviceBatches":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _fill(self) -> None:
        try:
            for batch in self._stream:
                host = {name: batch.pop(name) for name in HOST_FIELDS}
                samples = {name: self._global_array(local) for name, local in batch.items()}
                jax.block_until_ready(samples)  # the next call may overwrite the host's arrays
                if not self._put((samples, host)):
                    return
            self._put(StopIteration())
        except BaseException as error:
            self._put(error)

    def _global_array(self, local: np.ndarray) -> jax.Array:
        if self._on_cpu:  # on a CPU the array may share the host's memory
            local = local.copy()
        batch_size = self._batch_size or len(local)
        rows = rows_here(self._sharding, batch_size)

        def part(index: tuple[slice, ...]) -> np.ndarray:
            wanted = np.arange(batch_size)[index[0]]
            first = np.searchsorted(rows, wanted[0])
            return local[first : first + len(wanted)]

        shape = (batch_size, *local.shape[1:])
        return jax.make_array_from_callback(shape, self._sharding, part)

    def _put(self, item) -> bool:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False
