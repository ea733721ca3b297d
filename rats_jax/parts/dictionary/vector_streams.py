"""Vectors that are read chunk by chunk, because all together may not fit in memory."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from rats_jax.errors import UserError

_CHUNK_BYTES = 8 * 2**20  # of float32 vectors that are read together


class Vectors(Protocol):
    """n vectors of one width, which can be read any number of times, in the same order."""

    width: int

    def __len__(self) -> int: ...

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """All vectors in their order, float32 [size, D]; the last chunk may be shorter."""
        ...

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Some vectors, float32 [m, D], in the order of the indices."""
        ...


class InMemory:
    """The vectors of an array [n, D] of any float dtype."""

    def __init__(self, array: np.ndarray):
        self._array = array
        self.width = array.shape[1]

    def __len__(self) -> int:
        return len(self._array)

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        for first in range(0, len(self), size):
            yield np.asarray(self._array[first : first + size], np.float32)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(self._array[indices], np.float32)


class Scaled:
    """Vectors, each scaled to length 1; zeros stay zeros."""

    def __init__(self, vectors: Vectors):
        self._vectors = vectors
        self.width = vectors.width

    def __len__(self) -> int:
        return len(self._vectors)

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        return map(_unit, self._vectors.chunks(size))

    def rows(self, indices: np.ndarray) -> np.ndarray:
        return _unit(self._vectors.rows(indices))


class Moments(NamedTuple):
    """mean: float64 [D]. variance: the mean over the D values of a vector. digest: distinguishes
    these vectors from others."""

    mean: np.ndarray
    variance: float
    digest: str


def chunk_size(width: int) -> int:
    """How many vectors are read together: a power of two."""
    return 1 << max(_CHUNK_BYTES // (4 * width), 1).bit_length() - 1


def moments(vectors: Vectors) -> Moments:
    """Moments of all vectors. Raises UserError if values are not finite."""
    total, squares, first = np.zeros(vectors.width), 0.0, 0
    for chunk in vectors.chunks(chunk_size(vectors.width)):
        squares += check_finite(chunk, first)
        total += chunk.sum(0, dtype=np.float64)
        first += len(chunk)
    mean = total / max(first, 1)
    variance = squares / max(first * vectors.width, 1) - (mean**2).mean()
    digest = hashlib.sha256(total.tobytes() + np.float64(squares).tobytes()).hexdigest()
    return Moments(mean, max(float(variance), 0.0), digest)


def check_finite(chunk: np.ndarray, first: int = 0) -> float:
    """The sum of squares of vectors [c, D], of which the first has the number `first`. Raises
    UserError if a vector has NaN, infinity, or values whose squares are infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.einsum("nd,nd->n", chunk, chunk)
    finite = np.isfinite(lengths)
    if not finite.all():
        raise UserError(
            f"vector {first + int(finite.argmin())} has values that are not finite, or too large: "
            "check the checkpoint that the vectors come from"
        )
    return float(lengths.sum(dtype=np.float64))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return vectors / np.maximum(lengths, 1e-12)[:, None]
