"""Distributes images over a mesh: each process reads the rows of its own devices."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rats_jax.data.device import rows_here
from rats_jax.errors import UserError
from rats_jax.parallel.mesh import batch_sharding, batch_shards

EACH = 8


class Spread:
    """A number of images in batches that are split over the mesh; the last batch is padded. each:
    images of a batch for each shard of the mesh.

    Attributes:
      batch_size: images in a batch, over all processes.
    """

    def __init__(self, mesh: Mesh, images: int, *, each: int = EACH):
        self._images, self._sharding = images, batch_sharding(mesh)
        self.batch_size = each * batch_shards(mesh)
        self._rows = rows_here(self._sharding, self.batch_size)

    def own(self) -> np.ndarray:
        """The numbers of the images that this process reads, ascending."""
        images = np.arange(self._images)
        return images[np.isin(images % self.batch_size, self._rows)]

    def abstract(self, shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
        """The abstract array that `put` returns."""
        return jax.ShapeDtypeStruct((self.batch_size, *shape), dtype, sharding=self._sharding)

    def read(
        self,
        pool: ThreadPoolExecutor,
        read: Callable[[int], Any],
        *,
        on_error: Callable[[UserError], None],
    ) -> Iterator[dict[int, Any]]:
        """A dict for each batch: row -> the result of `read` for its image, for the rows of this
        process. Padding rows and images for which `read` raised UserError are missing. The next
        batch is read while one is in use."""
        coming = self._begin(pool, read, 0)
        for start in range(0, self._images, self.batch_size):
            reading, coming = coming, self._begin(pool, read, start + self.batch_size)
            found = {}
            for row, future in reading.items():
                try:
                    found[row] = future.result()
                except UserError as error:
                    on_error(error)
            yield found

    def _begin(self, pool: ThreadPoolExecutor, read: Callable, start: int) -> dict[int, Future]:
        rows = [row for row in self._rows.tolist() if start + row < self._images]
        return {row: pool.submit(read, start + row) for row in rows}

    def put(
        self, rows: Mapping[int, np.ndarray], like: jax.ShapeDtypeStruct, other: int = 0
    ) -> jax.Array:
        """The array of a batch on the devices; `other` fills the missing rows."""
        filled = np.full(like.shape[1:], other, like.dtype)

        def part(index: tuple[slice, ...]) -> np.ndarray:
            wanted = range(*index[0].indices(self.batch_size))
            return np.stack([rows.get(row, filled) for row in wanted])

        return jax.make_array_from_callback(like.shape, self._sharding, part)


def own_rows(array: jax.Array) -> Iterator[tuple[int, np.ndarray]]:
    """(row, values) of an array that is split by rows; each row is in exactly one process."""
    for shard in array.addressable_shards:
        if shard.replica_id == 0:
            first = shard.index[0].start or 0
            yield from enumerate(np.asarray(shard.data), first)
