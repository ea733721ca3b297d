"""Whether a part is the same part in every image: agreement over the pixels of a whole data set.

Scores within an image (M2O, O2O, ARI) do not ask whether a region of one image and a region of
another are the same part. Here each pixel has an id that means the same in every image, such as the
index of the register that its patch is most like, and its part, and both are compared over all
pixels together (as PDiscoNet, arXiv 2309.03173, and PDiscoFormer, arXiv 2407.04538, do).
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import xlogy

from rats_jax.evals.region_metrics import adjusted_rand

RESAMPLES, TOGETHER = 1000, 100


class Agreement(NamedTuple):
    """nmi: normalised mutual information, by the arithmetic mean of the entropies, 0..1. ari:
    adjusted Rand index, chance at 0."""

    nmi: float
    ari: float


class Measured(NamedTuple):
    """An estimate, the ends of its 95 % bootstrap interval, and the pixels that were compared."""

    mean: Agreement
    low: Agreement
    high: Agreement
    pixels: int


class Pooled:
    """Counts of (part, id) in each image; memory grows with the pairs that images have.

    Every `Pooled` of as many images is resampled by the same draws, so that differences are paired.
    """

    def __init__(self):
        self._images: list[tuple[np.ndarray, np.ndarray]] = []  # pairs [P, 2] and their counts [P]

    def add(self, parts: np.ndarray, ids: np.ndarray, *, void: int | None = None) -> None:
        """An image's integer maps of one shape; pixels whose part is `void` do not count."""
        if parts.shape != ids.shape:
            raise ValueError(f"parts are {parts.shape}, ids are {ids.shape}")
        pairs = np.stack([parts.ravel(), ids.ravel()], 1)
        pairs, counts = np.unique(pairs[pairs[:, 0] != void], axis=0, return_counts=True)
        self._images.append((pairs, counts))

    @property
    def parts(self) -> set[int]:
        """The ids of parts that were met."""
        return {part for pairs, _ in self._images for part in pairs[:, 0].tolist()}

    def agreement(self, background: int | None = None) -> Measured:
        """Of all pixels, or of those whose part is not `background`; NaN for no pixel."""
        counts, shape = self._counts(background)
        table = np.asarray(counts.sum(0), np.int64).reshape(shape)
        if not table.size:
            nothing = Agreement(np.nan, np.nan)
            return Measured(nothing, nothing, nothing, 0)
        nmi = float(_normalised_information(table[None])[0])
        mean = Agreement(nmi, adjusted_rand(table))
        return Measured(mean, *_interval(mean, self._resampled(background)), int(table.sum()))

    def difference(self, other: "Pooled", background: int | None = None) -> Measured:
        """This agreement minus that of `other`, of the same images in the same order."""
        one, two = self.agreement(background), other.agreement(background)
        if not one.pixels:
            return one
        mean = Agreement(*(x - y for x, y in zip(one.mean, two.mean, strict=True)))
        resampled = self._resampled(background) - other._resampled(background)
        return Measured(mean, *_interval(mean, resampled), one.pixels)

    def _counts(self, background: int | None) -> tuple[csr_array, tuple[int, int]]:
        """int64 [images, parts * ids], and (parts, ids)."""
        image = np.repeat(range(len(self._images)), [len(counts) for _, counts in self._images])
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *(pairs for pairs, _ in self._images)])
        counts = np.concatenate([np.zeros(0, np.int64), *(counts for _, counts in self._images)])
        kept = pairs[:, 0] != background
        (parts, part), (ids, id_) = (np.unique(of, return_inverse=True) for of in pairs[kept].T)
        shape = len(parts), len(ids)
        cells = image[kept], part * len(ids) + id_
        whole = len(self._images), len(parts) * len(ids)
        return csr_array((counts[kept].astype(np.int64), cells), whole), shape

    def _resampled(self, background: int | None) -> np.ndarray:
        """Agreement of images drawn with replacement, float64 [RESAMPLES, 2]."""
        counts, shape = self._counts(background)
        images = counts.shape[0]
        rng, odds = np.random.default_rng(0), np.full(images, 1 / images)
        found = []
        for _ in range(0, RESAMPLES, TOGETHER):
            drawn = rng.multinomial(images, odds, size=TOGETHER).astype(np.float64)
            tables = (drawn @ counts).reshape(TOGETHER, *shape)
            found.append(np.stack([_normalised_information(tables), _rand(tables)], 1))
        return np.concatenate(found)


def _interval(mean: Agreement, resampled: np.ndarray) -> tuple[Agreement, Agreement]:
    """2.5 and 97.5 % of the resampled values, moved by what resampling adds to them in the mean:
    fewer distinct images agree more."""
    excess = resampled.mean(0) - mean
    return tuple(
        Agreement(*map(float, of)) for of in np.percentile(resampled, (2.5, 97.5), 0) - excess
    )


def _normalised_information(tables: np.ndarray) -> np.ndarray:
    """Of counts [R, parts, ids], float64 [R]. 1 where both have one class: they are the same
    partition."""
    joint = tables / np.maximum(tables.sum((1, 2), keepdims=True), 1)
    entropies = _entropy(joint.sum(2)) + _entropy(joint.sum(1))
    information = entropies - _entropy(joint.reshape(len(joint), -1))
    some = entropies > 0
    return np.where(some, 2 * np.maximum(information, 0) / np.where(some, entropies, 1), 1.0)


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    return -xlogy(shares, shares).sum(-1)


def _rand(tables: np.ndarray) -> np.ndarray:
    """`adjusted_rand` of counts [R, parts, ids] in float64, which suffices for intervals."""
    pixels = tables.sum((1, 2))
    same = (tables**2).sum((1, 2)) - pixels
    rows, columns = ((tables.sum(axis) ** 2).sum(1) - pixels for axis in (2, 1))
    expected = rows * columns / np.maximum(pixels * (pixels - 1), 1)
    most = (rows + columns) / 2
    same_partition = most == expected
    return np.where(
        same_partition, 1.0, (same - expected) / np.where(same_partition, 1, most - expected)
    )
