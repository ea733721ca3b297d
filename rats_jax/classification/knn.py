"""Weighted k-nearest-neighbour classification (official DINO: eval_knn.py).

The neighbours are exact, and no array grows with bank times queries: the bank is processed in
chunks, and the best neighbours so far are stored for each query.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.classification.accuracy import RANKS

USUAL_K = (10, 20, 100, 200)
TEMPERATURE = 0.07
BANK, QUERIES = 65536, 512  # at once: 134 MB of similarities

_EXACT = jax.lax.Precision.HIGHEST  # accelerators would otherwise round cosines to bf16 or TF32


def knn_predictions(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    ks: Sequence[int],
    temperature: float = TEMPERATURE,
) -> dict[int, np.ndarray]:
    """The classes that the neighbours vote for, the strongest first.

    The k training images of largest cosine each vote for their class with weight
    exp(cosine / temperature). Similarities and votes are float32. Ties: of equal cosines the
    earlier image counts, of equal votes the lower class comes first.

    Args:
      train_features: [M, D], any float dtype and length: they are normalised here.
      train_labels: int [M], 0 or more. They can be large: no array grows with their values.
      test_features: [N, D].
      ks: numbers of neighbours, each from 1 to M.

    Returns:
      k -> int64 [N, 5], -1 where fewer classes have a vote. (The official script fills such ranks
      with classes without votes, in no particular order.)
    """
    if not all(1 <= k <= len(train_features) for k in ks):
        raise ValueError(f"{ks} neighbours among {len(train_features)} training images")
    classes, labels = np.unique(np.asarray(train_labels, np.int64), return_inverse=True)
    labels = labels.astype(np.int32)
    chunk, size = min(BANK, len(labels)), min(QUERIES, len(test_features))
    queries = [
        jnp.asarray(_padded(_unit(test_features[start : start + size]), size))
        for start in range(0, len(test_features), size)
    ]
    none = jnp.full((size, max(ks)), -jnp.inf), jnp.zeros((size, max(ks)), jnp.int32)
    best = [none] * len(queries)
    for start in range(0, len(labels), chunk):
        bank = jnp.asarray(_padded(_unit(train_features[start : start + chunk]), chunk))
        of = jnp.asarray(_padded(labels[start : start + chunk], chunk, value=-1))
        best = [
            merge_neighbours(*found, part, bank, of)
            for found, part in zip(best, queries, strict=True)
        ]
    votes = partial(_vote, temperature=temperature)
    ranked = {k: np.concatenate([votes(*found, k=k) for found in best]) for k in ks}
    ranked = {k: of_queries[: len(test_features)] for k, of_queries in ranked.items()}
    return {k: np.where(places < 0, -1, classes[places]) for k, places in ranked.items()}


@jax.jit
def merge_neighbours(
    cosines: jax.Array, labels: jax.Array, queries: jax.Array, bank: jax.Array, of: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The best neighbours among those found so far ([B, K] cosines and labels) and one chunk of the
    bank, [C, D] with labels `of` [C], which are -1 for padding."""
    near = jnp.matmul(queries, bank.T, precision=_EXACT)
    near = jnp.where(of >= 0, near, -jnp.inf)
    # top_k of the chunk first, so that earlier results are not concatenated to all similarities
    near, places = jax.lax.top_k(near, min(cosines.shape[1], len(of)))
    cosines, order = jax.lax.top_k(jnp.concatenate([cosines, near], 1), cosines.shape[1])
    return cosines, jnp.take_along_axis(jnp.concatenate([labels, of[places]], 1), order, axis=1)


@partial(jax.jit, static_argnames="k")
def _vote(cosines: jax.Array, labels: jax.Array, *, temperature: float, k: int) -> jax.Array:
    """int32 [B, 5] from [B, K] in descending order. For each query only the classes of its
    neighbours are counted, at most k, regardless of the total number of classes."""
    order = jnp.argsort(labels[:, :k], axis=1, stable=True)  # each class together, lower ones first
    cosines, labels = (jnp.take_along_axis(x, order, axis=1) for x in (cosines, labels))
    new = jnp.diff(labels, axis=1) != 0
    places = jnp.pad(jnp.cumsum(new, axis=1), ((0, 0), (1, 0)))
    rows, shape = jnp.arange(len(labels))[:, None], (len(labels), max(k, RANKS))
    votes = jnp.zeros(shape, jnp.float32).at[rows, places].add(jnp.exp(cosines / temperature))
    classes = jnp.zeros(shape, jnp.int32).at[rows, places].set(labels)
    votes, best = jax.lax.top_k(votes, RANKS)
    return jnp.where(votes > 0, jnp.take_along_axis(classes, best, axis=1), -1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _padded(rows: np.ndarray, size: int, *, value: float = 0) -> np.ndarray:
    """The rows padded to `size` rows, so that only one program is compiled."""
    widths = ((0, size - len(rows)),) + ((0, 0),) * (rows.ndim - 1)
    return np.pad(rows, widths, constant_values=value)
