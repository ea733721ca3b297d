"""Scores of the entries that a dictionary assigns to the images of a split, with intervals.

Purity is higher with more entries and with fewer detectors for each of them, also if entries mean
nothing. So compare rows only at the same numbers, and read `named` beside it.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from rats_jax.parts.bootstrap import interval, resampled
from rats_jax.parts.dictionary.naming import LEAST, NONE
from rats_jax.parts.dictionary.retrieval import Ranked


class Scores(NamedTuple):
    """Fractions, NaN if not known.

    purity: valPw: the mean purity of the entries with at least LEAST votes, by the votes of the
        scored split itself, weighted by their votes.
    named: the share of votes that agree with the name that the training split gave to the entry. A
        vote for an entry without a name does not agree.
    util: the share of all entries that at least LEAST detectors are assigned to.
    map, first: mean average precision of retrieval, and precision of the first image.
    """

    purity: float
    named: float
    util: float
    map: float
    first: float


#: Their names in tables.
HEADERS = dict(zip(Scores._fields, ("valPw", "named", "util", "mAP", "R@1"), strict=True))
UNKNOWN = Scores(*[np.nan] * len(Scores._fields))


class MeasuredScores(NamedTuple):
    """Estimates, and the ends of their 95 % bootstrap intervals over images."""

    mean: Scores
    low: Scores
    high: Scores


class Assigned(NamedTuple):
    """The detectors of a split: image, entry, label int [R], `NONE` for an entry that does not
    exist or a detector without a label. images: how many there are. entries: E."""

    image: np.ndarray
    entry: np.ndarray
    label: np.ndarray
    images: int
    entries: int


class Resampled(NamedTuple):
    """mean: of all images. draws: float64 [RESAMPLES, 5], of images drawn with replacement. The
    draws are the same for all rows of equally many images, so that differences are paired."""

    mean: Scores
    draws: np.ndarray

    def measured(self) -> MeasuredScores:
        low, high = (np.clip(end, 0, 1) for end in interval(self.mean, self.draws))
        return MeasuredScores(self.mean, Scores(*low.tolist()), Scores(*high.tolist()))

    def minus(self, other: "Resampled") -> MeasuredScores:
        """The difference to another row, of the same images in the same order."""
        mean = Scores(*np.subtract(self.mean, other.mean).tolist())
        low, high = interval(mean, self.draws - other.draws)
        return MeasuredScores(mean, Scores(*low.tolist()), Scores(*high.tolist()))


def measure(
    split: Assigned | None, names: np.ndarray | None = None, ranked: Ranked | None = None
) -> Resampled:
    """The scores of a split, and of its images resampled.

    split: None if only retrieval is known, as for global vectors. names: int [E], the labels of the
    entries by another split; None if they have none. ranked: of the images of the split, in order.
    """
    assert split is not None or ranked is not None, "nothing to score"
    images = split.images if split is not None else len(ranked.precision)
    tables = None if split is None else _tables(split, names)

    def scores(weights: np.ndarray) -> np.ndarray:
        columns = np.full((len(weights), len(Scores._fields)), np.nan)
        if tables is not None:
            columns[:, :3] = _of_entries(weights, tables)
        if ranked is not None:
            columns[:, 3] = _mean(weights, ranked.precision)
            columns[:, 4] = _mean(weights, ranked.first)
        return columns

    mean = Scores(*scores(np.ones((1, images)))[0].tolist())
    return Resampled(mean, resampled(images, scores))


class _Tables(NamedTuple):
    """votes: sparse [images, C], counts of the C pairs of entry and label that occur, by entry.
    starts: the first pair of each entry with a vote. agrees: bool [C], whether the label is the
    entry's name; None if there are no names. members: sparse [images, U], detectors of the entries
    that occur. entries: E."""

    votes: csr_array
    starts: np.ndarray
    agrees: np.ndarray | None
    members: csr_array
    entries: int


def _tables(split: Assigned, names: np.ndarray | None) -> _Tables:
    exists = split.entry != NONE
    votes = exists & (split.label != NONE)
    pairs, pair = np.unique(
        np.stack([split.entry[votes], split.label[votes]], 1), axis=0, return_inverse=True
    )
    _, starts = np.unique(pairs[:, 0], return_index=True)
    used, member = np.unique(split.entry[exists], return_inverse=True)
    return _Tables(
        _counts(split.image[votes], pair.ravel(), (split.images, len(pairs))),
        starts,
        None if names is None else names[pairs[:, 0]] == pairs[:, 1],
        _counts(split.image[exists], member.ravel(), (split.images, len(used))),
        split.entries,
    )


def _counts(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_array:
    table = csr_array((np.ones(len(rows)), (rows, columns)), shape)
    table.sum_duplicates()
    return table


def _of_entries(weights: np.ndarray, tables: _Tables) -> np.ndarray:
    """float64 [R, 3]: purity, named and util, where image i counts weights[:, i] times."""
    found = np.full((len(weights), 3), np.nan)
    found[:, 2] = ((weights @ tables.members) >= LEAST).sum(1) / tables.entries
    votes = weights @ tables.votes
    if not votes.shape[1]:
        return found
    voters = np.add.reduceat(votes, tables.starts, axis=1)
    most = np.maximum.reduceat(votes, tables.starts, axis=1)
    enough = voters >= LEAST
    found[:, 0] = _ratio((most * enough).sum(1), (voters * enough).sum(1))
    if tables.agrees is not None:
        found[:, 1] = _ratio(votes @ tables.agrees, votes.sum(1))
    return found


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means [R] of the values [S] that are not NaN."""
    known = ~np.isnan(values)
    return _ratio(weights @ np.where(known, values, 0), weights @ known)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
