"""One pass of Lloyd's algorithm over all vectors: the nearest centers, and the means of theirs."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.parts.dictionary.vector_streams import Vectors, check_finite, chunk_size
from rats_jax.parts.regions import EXACT

_BLOCK, _TABLE_BYTES = 512, 64 * 2**20  # vectors whose distances exist at a time: at most


class Pass(NamedTuple):
    """sums: float64 [E, D], of the nearest vectors of each center, relative to `origin` [D].
    sizes: int64 [E]. objective: the sum of squared distances. far, far_labels: int64 and int32 [m],
    the farthest vectors from their centers, the farthest first, and which centers these are."""

    sums: np.ndarray
    origin: np.ndarray
    sizes: np.ndarray
    objective: float
    far: np.ndarray
    far_labels: np.ndarray


def pass_over(
    vectors: Vectors,
    centers: np.ndarray,
    *,
    origin: np.ndarray | None = None,
    exact: bool = False,
    each: Callable[[int, np.ndarray, np.ndarray], None] | None = None,
) -> Pass:
    """Goes over all vectors once.

    Args:
      centers: float [E, D].
      origin: [D], subtracted from vectors and centers, so that rounding is small; None for the mean
        of the centers.
      exact: compute distances from differences of vectors. Otherwise they are
        |x|^2 - 2 x c + |c|^2, which is faster and has an error of about 1e-7 |x|^2. Which center is
        nearest is always decided by the latter.
      each: is called for each chunk with the number of its first vector, labels int32 [c] and
        squared distances float32 [c].

    Raises UserError if values of a vector are not finite.
    """
    entries, width = centers.shape
    size = min(chunk_size(width), 1 << max(len(vectors) - 1, 1).bit_length())
    origin = (centers.mean(0) if origin is None else origin).astype(np.float32)
    moved = jnp.asarray((centers - origin).astype(np.float32))
    block = min(_BLOCK, size, 1 << max(_TABLE_BYTES // (4 * entries), 1).bit_length() - 1)
    sums, sizes = np.zeros((entries, width)), np.zeros(entries, np.int64)
    objective, first, far = 0.0, 0, _Farthest(entries)
    for chunk in vectors.chunks(size):
        count = len(chunk)
        if count < size:
            chunk = np.concatenate([chunk, np.zeros((size - count, width), np.float32)])
        labels, squares, added = _assigned(
            chunk, np.int32(count), origin, moved, block=block, exact=exact
        )
        labels, squares = np.asarray(labels)[:count], np.asarray(squares)[:count]
        if not np.isfinite(squares).all():
            check_finite(chunk[:count], first)
        sums += np.asarray(added)
        sizes += np.bincount(labels, minlength=entries)
        objective += float(squares.sum(dtype=np.float64))
        far.add(squares, labels, first)
        if each:
            each(first, labels, squares)
        first += count
    return Pass(sums, origin, sizes, objective, far.numbers, far.labels)


@partial(jax.jit, static_argnames=("block", "exact"))
def _assigned(
    vectors: jax.Array,
    count: jax.Array,
    origin: jax.Array,
    centers: jax.Array,
    *,
    block: int,
    exact: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Labels [C], squared distances [C], and sums [E, D] of the first `count` vectors [C, D]. At
    most `block` rows of the table of distances exist at a time."""
    entries, width = centers.shape
    vectors = vectors - origin
    norms = (centers**2).sum(-1)
    numbers = jnp.arange(entries, dtype=jnp.int32)

    def of_block(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
        table = norms - 2 * jnp.dot(vectors, centers.T, precision=EXACT)
        least = table.min(-1)
        # the first of the least: XLA's argmin is several times as slow on CPUs
        label = jnp.where(table <= least[:, None], numbers, entries - 1).min(-1)
        if exact:
            return label, ((vectors - centers[label]) ** 2).sum(-1)
        return label, jnp.maximum(least + (vectors**2).sum(-1), 0)

    labels, squares = jax.lax.map(of_block, vectors.reshape(-1, block, width))
    labels = labels.reshape(-1)
    counted = jnp.where(jnp.arange(len(labels)) < count, labels, entries)  # others are dropped
    sums = jax.lax.platform_dependent(
        vectors,
        counted,
        cpu=lambda x, at: jax.ops.segment_sum(x, at, entries),
        # additions of a scatter have no fixed order on a GPU, and sums would differ in their bits
        default=lambda x, at: _products_of_members(x, at, entries, block),
    )
    return labels, squares.reshape(-1), sums


def _products_of_members(vectors: jax.Array, labels: jax.Array, entries: int, block: int):
    """Sums [E, D] as products, block by block."""

    def add(sums: jax.Array, one: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        vectors, labels = one
        member = jax.nn.one_hot(labels, entries, dtype=vectors.dtype)
        return sums + jnp.einsum("ce,cd->ed", member, vectors, precision=EXACT), None

    width = vectors.shape[1]
    blocks = vectors.reshape(-1, block, width), labels.reshape(-1, block)
    return jax.lax.scan(add, jnp.zeros((entries, width), vectors.dtype), blocks)[0]


class _Farthest:
    """The vectors that are farthest from their centers: at most `most`, with positive distances.
    Ties: the earlier vector first."""

    def __init__(self, most: int):
        self._most = most
        self._squares = np.zeros(0, np.float32)
        self.numbers, self.labels = np.zeros(0, np.int64), np.zeros(0, np.int32)

    def add(self, squares: np.ndarray, labels: np.ndarray, first: int) -> None:
        full = len(self._squares) == self._most
        (new,) = np.nonzero(squares > (self._squares[-1] if full else 0))
        squares = np.concatenate([self._squares, squares[new]])
        numbers = np.concatenate([self.numbers, new + first])
        labels = np.concatenate([self.labels, labels[new]])
        order = np.lexsort((numbers, -squares))[: self._most]
        self._squares, self.numbers, self.labels = squares[order], numbers[order], labels[order]
