"""K-means over many vectors: k-means++ and Lloyd's algorithm, on the device, chunk by chunk.

The objective, the tolerance and the treatment of empty clusters are those of scikit-learn's
KMeans(algorithm="lloyd"). Vectors are streamed and need not fit in memory. Shape letters: n
vectors, E entries, D width.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rats_jax.data.counted import counted
from rats_jax.errors import UserError
from rats_jax.parts.dictionary.fit_state import Fit, State, keep, load
from rats_jax.parts.dictionary.lloyd import Pass, pass_over
from rats_jax.parts.dictionary.spread_start import spread_start
from rats_jax.parts.dictionary.vector_streams import InMemory, Moments, Scaled, Vectors, moments

__all__ = ["Fit", "InMemory", "Vectors", "fit", "nearest"]

_TOLERANCE = 1e-4  # of the variance, as in scikit-learn


def fit(
    vectors: Vectors,
    entries: int,
    *,
    seed: int = 0,
    restarts: int = 1,
    iterations: int = 100,
    unit: bool = False,
    start: np.ndarray | None = None,
    state: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Fit:
    """K-means of vectors.

    It ends when the squared movement of all centers together is at most 1e-4 of the variance of a
    vector's values (scikit-learn's default), or after `iterations`. A center that is nearest to no
    vector moves to the vector that is farthest from its own center, as in scikit-learn.

    Args:
      vectors: at least `entries` different ones.
      seed: of the starts. On the same kind of device, the same seed gives the same centers.
      restarts: starts of which the one with the smallest objective is taken.
      iterations: at most so many of Lloyd's algorithm, at least 1.
      unit: scale each vector to length 1 first. Centers are means, so they are shorter than 1.
      start: float [E, D], centers to start from instead of k-means++ (then there is one start).
      state: a file in which the centers are kept after each iteration. A fit that was killed
        continues from it and ends with the same centers as one that was not. The file stays.
      report: is called with a line of text after each iteration.

    Raises:
      UserError: if vectors are too few or not finite, or `state` belongs to another fit.
    """
    if entries < 1:
        raise UserError(f"{entries} entries: give at least 1")
    if len(vectors) < entries:
        raise UserError(
            f"{entries:,} entries of only {counted(len(vectors), 'vector')}: give fewer "
            "entries, or more images"
        )
    restarts = restarts if start is None else 1
    assert start is None or start.shape == (entries, vectors.width), "centers of another shape"
    vectors = Scaled(vectors) if unit else vectors
    found = moments(vectors)
    settings = {
        "entries": entries,
        "seed": seed,
        "restarts": restarts,
        "iterations": iterations,
        "unit": unit,
        "vectors": f"{len(vectors)} x {vectors.width} {found.digest}",
        "start": None if start is None else hashlib.sha256(start.tobytes()).hexdigest(),
    }
    now = load(state, settings) if state else State()
    say = report or (lambda line: None)

    def save(now: State) -> State:
        if state:
            keep(state, settings, now)
        return now

    for restart in range(now.restart, restarts):
        name = f"k-means, start {restart + 1} of {restarts}" if restarts > 1 else "k-means"
        if now.centers is None:
            rng = np.random.default_rng([seed, restart])
            first = spread_start(vectors, entries, rng) if start is None else start
            now = save(now._replace(centers=first.astype(np.float64)))
        while now.iteration < iterations and not now.converged:
            now, line = _iteration(vectors, now, found)
            save(now)
            say(f"{name}, iteration {now.iteration}: {line}")
        new = _fit(vectors, now)
        best = now.best if now.best and now.best.objective <= new.objective else new
        now = save(State(restart=restart + 1, best=best))
    assert now.best
    return now.best


def nearest(
    vectors: np.ndarray, centers: np.ndarray, *, unit: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest center of each vector: (int32 [n] entries, float32 [n] squared distances).

    Ties go to the lower entry. unit: scale vectors (not centers) to length 1 first, as in `fit`.
    Raises UserError if vectors are not finite.
    """
    stream: Vectors = Scaled(InMemory(vectors)) if unit else InMemory(vectors)
    labels, squares = np.zeros(len(stream), np.int32), np.zeros(len(stream), np.float32)

    def take(first: int, found: np.ndarray, distances: np.ndarray) -> None:
        labels[first : first + len(found)] = found
        squares[first : first + len(found)] = distances

    pass_over(stream, centers, exact=True, each=take)
    return labels, squares


def _iteration(vectors: Vectors, now: State, data: Moments) -> tuple[State, str]:
    """One iteration of Lloyd's algorithm, and what it found."""
    found = pass_over(vectors, now.centers, origin=data.mean)
    centers = _means(vectors, now.centers, found)
    moved = float(((centers - now.centers) ** 2).sum())
    line = f"mean squared distance {found.objective / len(vectors):.6g}"
    if empty := int((found.sizes == 0).sum()):
        line += f", {counted(empty, 'empty cluster')} moved"
    next_state = now._replace(
        centers=centers, iteration=now.iteration + 1, converged=moved <= _TOLERANCE * data.variance
    )
    return next_state, line


def _means(vectors: Vectors, centers: np.ndarray, found: Pass) -> np.ndarray:
    """The means of the vectors that are nearest to each center, float64 [E, D].

    An empty cluster gets the farthest vector, which leaves its own cluster, unless it is the only
    one there. If no vector has a distance, the center stays.
    """
    sums, sizes = found.sums.copy(), found.sizes.copy()
    (empty,) = np.nonzero(sizes == 0)
    taken = []
    for number, label in zip(found.far, found.far_labels, strict=True):
        if len(taken) == len(empty):
            break
        if sizes[label] > 1:
            taken.append((number, label))
            sizes[label] -= 1
    if taken:
        numbers, labels = np.array(taken).T
        rows = vectors.rows(numbers) - found.origin
        np.subtract.at(sums, labels, rows)
        sums[empty[: len(taken)]] = rows
        sizes[empty[: len(taken)]] = 1
    means = found.origin + sums / np.maximum(sizes, 1)[:, None]
    return np.where(sizes[:, None] > 0, means, centers)


def _fit(vectors: Vectors, now: State) -> Fit:
    """The final centers, with the objective and the sizes that belong to them."""
    assert now.centers is not None
    centers = now.centers.astype(np.float32)
    found = pass_over(vectors, centers, exact=True)
    return Fit(centers, found.objective, found.sizes, now.iteration, now.converged)
