"""Greedy k-means++: centers to start from, spread over the vectors."""

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.data.counted import counted
from rats_jax.errors import UserError
from rats_jax.parts.dictionary.vector_streams import Vectors
from rats_jax.parts.regions import EXACT

_PER_ENTRY, _LEAST, _SAMPLE_BYTES = 32, 16_384, 256 * 2**20
_SAME = 1e-6  # squared distances below this share of the squared lengths are rounding


def spread_start(vectors: Vectors, entries: int, rng: np.random.Generator) -> np.ndarray:
    """Centers float32 [E, D], each a vector: of 2 + ln(E) draws the one that reduces the objective
    most, as in scikit-learn.

    They are chosen from all vectors, or from a random sample of 32 vectors an entry if there are
    more (at least 16,384; at most 256 MiB, but always 4 an entry).

    Raises UserError if there are fewer distinct vectors than entries.
    """
    sample = _sample(vectors, entries, rng)
    origin = sample.mean(0, dtype=np.float64).astype(np.float32)
    sample -= origin
    points = jnp.asarray(sample)
    squares = (points**2).sum(-1)
    draws = 2 + int(np.log(entries))
    chosen = [int(rng.integers(len(sample)))]
    left = _reduced(points, squares, jnp.full(len(sample), np.inf, np.float32), np.array(chosen))[0]
    while len(chosen) < entries:
        cumulative = np.cumsum(np.asarray(left), dtype=np.float64)
        if cumulative[-1] == 0:
            chosen += _other_distinct(sample, chosen, entries, len(vectors))
            break
        at = np.searchsorted(cumulative, rng.random(draws) * cumulative[-1], side="right")
        at = np.minimum(at, len(sample) - 1)
        left, best = _reduced(points, squares, left, at)
        chosen.append(int(at[int(best)]))
    return sample[chosen] + origin


def _sample(vectors: Vectors, entries: int, rng: np.random.Generator) -> np.ndarray:
    most = min(max(_PER_ENTRY * entries, _LEAST), _SAMPLE_BYTES // (4 * vectors.width))
    most = max(most, 4 * entries)
    if len(vectors) <= most:
        return np.array(vectors.rows(np.arange(len(vectors))))
    numbers = np.sort(rng.choice(len(vectors), most, replace=False, shuffle=False))
    return np.array(vectors.rows(numbers))


@jax.jit
def _reduced(points: jax.Array, squares: jax.Array, left: jax.Array, at: jax.Array):
    """The squared distances [s] to the nearest center with the best of the candidates at `at`, and
    which of them is the best."""
    products = jnp.einsum("cd,sd->cs", points[at], points, precision=EXACT)
    lengths = squares + squares[at, None]
    distance = lengths - 2 * products
    distance = jnp.where(distance > _SAME * lengths, distance, 0)
    distance = jnp.minimum(distance, left)
    best = distance.sum(-1).argmin()
    return distance[best], best


def _other_distinct(sample: np.ndarray, chosen: list[int], entries: int, total: int) -> list[int]:
    """Numbers of vectors that differ from the chosen ones and from each other, though by less than
    distances can distinguish."""
    _, numbers, group = np.unique(sample, axis=0, return_index=True, return_inverse=True)
    if len(numbers) < entries:
        kind = "" if len(sample) == total else f" in a sample of {len(sample):,}"
        raise UserError(
            f"{entries:,} entries of only {counted(len(numbers), 'distinct vector')}{kind}: "
            "give fewer entries, or more images"
        )
    taken = set(group.ravel()[chosen].tolist())
    others = [int(n) for g, n in enumerate(numbers) if g not in taken]
    return others[: entries - len(chosen)]
