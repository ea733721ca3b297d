"""In-context segmentation by nearest neighbours, without training.

As in "Towards In-Context Scene Understanding" (Balazevic et al. 2023, arXiv 2306.01667, about
Hummingbird), with the settings of an open implementation (open-hummingbird-eval): a memory of
normalised patches of labelled images, each with the share of each class in it. The label of a patch
is the mean of those of its 30 nearest neighbours by cosine, weighted by the softmax of
cosine / 0.02. Two things differ from that implementation: neighbours are exact, and the patches of
the memory are drawn uniformly from each image, without preferring rare classes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.classification.knn import merge_neighbours
from rats_jax.parts.regions import EXACT, unit

NEIGHBOURS, TEMPERATURE = 30, 0.02
BANK, QUERIES = 16384, 512  # at once: 34 MB of cosines


def drawn_patches(labelled: np.ndarray, image: int, *, share: int, seed: int = 0) -> np.ndarray:
    """The patches of an image that enter the memory: `share` of those that are labelled, or all of
    them if there are fewer, ascending.

    labelled: bool [L]. image: its number, so that each image has its own draw.
    """
    found = np.flatnonzero(labelled)
    if len(found) <= share:
        return found
    return np.sort(np.random.default_rng([seed, image]).permutation(found)[:share])


def remembering(
    vectors: np.ndarray, counts: np.ndarray, *, neighbours: int = NEIGHBOURS
) -> Callable[[np.ndarray], np.ndarray]:
    """The function from patches [Q, D] to the share of each class in them, float32 [Q, C].

    vectors: [M, D], of the memory. counts: [M, C], of classes in each patch; at least one is not 0.
    If the memory has fewer patches than `neighbours`, all of them are used.
    """
    neighbours = min(neighbours, len(vectors))
    shares = jnp.asarray(counts / counts.sum(1, keepdims=True), jnp.float32)
    size = min(BANK, len(vectors))
    bank = [
        (
            unit(jnp.asarray(_padded(vectors[start : start + size], size))),
            jnp.asarray(_padded(np.arange(start, min(start + size, len(vectors))), size, value=-1)),
        )
        for start in range(0, len(vectors), size)
    ]

    def one_block(queries: np.ndarray) -> np.ndarray:
        patches = unit(jnp.asarray(_padded(queries, QUERIES)))
        cosines = jnp.full((QUERIES, neighbours), -jnp.inf)
        places = jnp.zeros((QUERIES, neighbours), jnp.int32)
        for of_memory, numbers in bank:
            cosines, places = merge_neighbours(cosines, places, patches, of_memory, numbers)
        return np.asarray(_attended(cosines, places, shares))[: len(queries)]

    def predict(queries: np.ndarray) -> np.ndarray:
        starts = range(0, len(queries), QUERIES)
        return np.concatenate([one_block(queries[start : start + QUERIES]) for start in starts])

    return predict


@jax.jit
def _attended(cosines: jax.Array, places: jax.Array, shares: jax.Array) -> jax.Array:
    """[Q, C] from the cosines and places in memory [Q, k] of the neighbours."""
    weights = jax.nn.softmax(cosines / TEMPERATURE, axis=-1)
    return jnp.einsum("qk,qkc->qc", weights, shares[places], precision=EXACT)


def _padded(rows: np.ndarray, size: int, *, value: float = 0) -> np.ndarray:
    widths = ((0, size - len(rows)),) + ((0, 0),) * (rows.ndim - 1)
    dtype = np.int32 if rows.dtype.kind == "i" else np.float32
    return np.pad(rows.astype(dtype), widths, constant_values=value)
