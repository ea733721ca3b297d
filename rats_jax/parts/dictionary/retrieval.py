"""Retrieval of images of the same class, by the entries that occur in them.

Each image is a query; all other images are ranked by their cosine with it. Ties count with the
expected value over all their orders, so that neither the order of files nor an image without any
entry changes a score by chance: such an image has the scores of a random ranking.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from rats_jax.parts.dictionary.naming import NONE

_DECIMALS = 9  # cosines that are equal to so many decimals are ties
_CELLS = 8_000_000  # cosines that are in memory at once
_DENSE, _DENSE_VALUES = 64, 1e8  # one value of so many that is not 0: faster as a dense array


class Ranked(NamedTuple):
    """precision: float64 [S], the average precision of each image as a query. first: float64 [S],
    the precision of the first image. Both are NaN for an image without a class, and for the only
    image of a class."""

    precision: np.ndarray
    first: np.ndarray


def tf_idf(image: np.ndarray, entry: np.ndarray, *, images: int, entries: int) -> csr_array:
    """The vectors of images, sparse float64 [images, entries], of length 1 or 0: the count of an
    entry times ln(images / images with the entry).

    image, entry: int [R], of each detector; an entry of NONE does not count.
    """
    exists = entry != NONE
    counts = csr_array((np.ones(exists.sum()), (image[exists], entry[exists])), (images, entries))
    counts.sum_duplicates()
    having = np.bincount(counts.indices, minlength=entries)
    counts.data *= np.log(images / having[counts.indices])
    return _of_length_1(counts)


def rank(vectors: csr_array | np.ndarray, groups: Sequence[str | None]) -> Ranked:
    """Ranks, for each image with a class, all other images with a class.

    vectors: [S, D], of any length; of a vector of zeros all cosines are 0. groups: the class of
    each image, None or "" for none.
    """
    kept, members = _members(groups)
    result = Ranked(*np.full((2, len(groups)), np.nan))
    if _is_sparse(vectors):
        vectors = _of_length_1(vectors[kept])
        values = vectors.shape[0] * vectors.shape[1]
        if vectors.nnz * _DENSE > values and values < _DENSE_VALUES:
            vectors = vectors.toarray()
    else:
        vectors = _unit(np.asarray(vectors, np.float64)[kept])
    size = max(_CELLS // max(len(kept), 1), 1)
    for start in range(0, len(kept), size):
        cosines = vectors[start : start + size] @ vectors.T
        cosines = np.round(cosines.toarray() if _is_sparse(cosines) else cosines, _DECIMALS)
        for query, of_query in enumerate(cosines, start):
            same = members[query]
            if len(same) > 1:
                of_query[query] = -np.inf  # the last, and never relevant
                relevant = of_query[same[same != query]]
                precision, first = _precision(np.sort(of_query)[:0:-1], relevant)
                result.precision[kept[query]], result.first[kept[query]] = precision, first
    return result


def random_ranking(groups: Sequence[str | None]) -> Ranked:
    """The expected values of a random ranking."""
    kept, members = _members(groups)
    result = Ranked(*np.full((2, len(groups)), np.nan))
    zeros = np.zeros(max(len(kept) - 1, 0))
    known: dict[int, tuple[float, float]] = {}  # by the size of the class
    for place, same in zip(kept, members, strict=True):
        if len(same) > 1:
            if len(same) not in known:
                known[len(same)] = _precision(zeros, zeros[: len(same) - 1])
            result.precision[place], result.first[place] = known[len(same)]
    return result


def _members(groups: Sequence[str | None]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The images with a class, int [K]; and for each of them the positions among these K of all
    images of its class."""
    kept = np.flatnonzero([bool(group) for group in groups])
    _, codes = np.unique([groups[i] or "" for i in kept.tolist()], return_inverse=True)
    of_class = {code: np.flatnonzero(codes == code) for code in np.unique(codes)}
    return kept, [of_class[code] for code in codes]


def _precision(falling: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """Average precision, and precision of the first place; both are expected values over the orders
    of ties.

    falling: the cosines of all ranked images, the highest first. relevant: those of the relevant
    ones, at least one.

    A tie of n images, r of them relevant, after p images with q relevant ones: place p + j has a
    relevant image with probability r / n, and then q + 1 + (j - 1)(r - 1) / (n - 1) relevant images
    are expected up to there.
    """
    values, r = np.unique(-relevant, return_counts=True)  # the highest cosine first
    rising = -falling
    p = np.searchsorted(rising, values, "left")
    n = np.searchsorted(rising, values, "right") - p
    q = np.cumsum(r) - r
    harmonic = _harmonic(len(falling))
    inverses = harmonic[p + n] - harmonic[p]  # the sum of 1 / (p + j)
    later = (r - 1) / np.maximum(n - 1, 1) * (n - (p + 1) * inverses)
    precision = (r / n * ((q + 1) * inverses + later)).sum() / len(relevant)
    return float(precision), float(r[0] / n[0]) if p[0] == 0 else 0.0


@lru_cache(maxsize=1)
def _harmonic(count: int) -> np.ndarray:
    """The harmonic numbers of 0..count."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, count + 1))])


def _is_sparse(vectors: csr_array | np.ndarray) -> bool:
    return not isinstance(vectors, np.ndarray)


def _of_length_1(rows: csr_array) -> csr_array:
    lengths = np.sqrt(rows.multiply(rows).sum(1))
    scale = 1 / np.where(lengths > 0, lengths, 1)
    rows.data = rows.data * np.repeat(scale, np.diff(rows.indptr))
    return rows


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
