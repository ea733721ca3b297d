"""COCO's average precision from the matches of all images, also of images drawn with replacement.

The numbers are those of pycocotools' `accumulate`. It is not used, since it would have to run once
for every resample of the bootstrap; here one pass computes a hundred.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rats_jax.segmentation.coco_matching import AREAS, THRESHOLDS, Matched

_RECALLS = np.linspace(0.0, 1.0, 101)
#: Score -> (place in AREAS, thresholds).
SCORES = {
    "ap": (0, slice(None)),
    "ap50": (0, slice(0, 1)),
    "ap75": (0, slice(5, 6)),
    **{f"ap_{name}": (place, slice(None)) for place, name in enumerate(AREAS) if place},
}


class _Category(NamedTuple):
    """The D predictions and n images with instances of one category, over all images.

    right, ignored: bool [areas, thresholds, D], by descending score. images: int [D]. true_images:
    int [n]. true_counts: float64 [n, areas].
    """

    right: np.ndarray
    ignored: np.ndarray
    images: np.ndarray
    true_images: np.ndarray
    true_counts: np.ndarray


class PrecisionTable:
    """The matches of all images, by category.

    images: one `Matched` for each image, in an order that decides between equal scores.
    """

    def __init__(self, images: Sequence[Matched], categories: int):
        self.images, self._count = len(images), categories
        self._categories = list(_by_category(images, categories))

    @property
    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """How many instances of each category count, and how many are predicted, int64
        [categories] each."""
        truth = [of.true_counts[:, 0].sum() for of in self._categories]
        return np.array(truth, np.int64), np.array([len(of.images) for of in self._categories])

    def by_category(self, drawn: np.ndarray) -> np.ndarray:
        """The average precision of each category, float64 [R, categories, areas, thresholds]; NaN
        where no instance counts.

        drawn: float64 [R, images], how often each image is counted.
        """
        drawn = drawn.astype(np.float32)  # sums of whole numbers, exact up to 16 million
        shape = len(drawn), self._count, len(AREAS), THRESHOLDS
        found = np.full(shape, np.nan)
        for place, of_category in enumerate(self._categories):
            found[:, place] = _average_precision(of_category, drawn)
        return found

    def scores(self, drawn: np.ndarray) -> np.ndarray:
        """`SCORES` of each row of `drawn`, float64 [R, len(SCORES)]: means over categories."""
        return mean_scores(self.by_category(drawn))


def mean_scores(found: np.ndarray) -> np.ndarray:
    """`SCORES`, float64 [R, len(SCORES)], from [R, categories, areas, thresholds]: means over what
    is not NaN; NaN if all is."""
    means = []
    for area, thresholds in SCORES.values():
        values = found[:, :, area, thresholds].reshape(len(found), -1)
        known = ~np.isnan(values)
        number = known.sum(1)
        total = np.where(known, values, 0).sum(1)
        means.append(np.where(number, total / np.maximum(number, 1), np.nan))
    return np.stack(means, 1)


def _by_category(images: Sequence[Matched], categories: int) -> Iterator[_Category]:
    joined = Matched(*map(np.concatenate, zip(*images, strict=True)))
    image = np.repeat(np.arange(len(images)), [len(of.scores) for of in images])
    true_image = np.repeat(np.arange(len(images)), [len(of.true_categories) for of in images])
    # By category, then by descending score; of equal scores, the earlier image comes first.
    order = np.lexsort((-joined.scores, joined.categories))
    true_order = np.argsort(joined.true_categories, kind="stable")
    places = np.arange(categories + 1)
    ends = np.searchsorted(joined.categories[order], places)
    true_ends = np.searchsorted(joined.true_categories[true_order], places)
    for category in range(categories):
        of = order[ends[category] : ends[category + 1]]
        true_of = true_order[true_ends[category] : true_ends[category + 1]]
        yield _Category(
            np.ascontiguousarray(joined.right[of].transpose(1, 2, 0)),
            np.ascontiguousarray(joined.ignored[of].transpose(1, 2, 0)),
            image[of],
            true_image[true_of],
            joined.true_counts[true_of].astype(np.float64),
        )


def _average_precision(of: _Category, drawn: np.ndarray) -> np.ndarray:
    """Float64 [R, areas, thresholds]."""
    found = np.full((len(drawn), len(AREAS), THRESHOLDS), np.nan)
    positives = drawn[:, of.true_images] @ of.true_counts  # [R, areas]
    times = drawn[:, of.images]  # [R, D]
    for area in np.flatnonzero(of.true_counts.any(0)):
        for threshold in range(THRESHOLDS):
            counts = ~of.ignored[area, threshold]
            right = of.right[area, threshold] & counts
            found[:, area, threshold] = _of_curve(times, right, counts, positives[:, area])
    return found


def _of_curve(
    times: np.ndarray, right: np.ndarray, counts: np.ndarray, positives: np.ndarray
) -> np.ndarray:
    """The average precision, float64 [R]: the mean over 101 recalls of the best precision at that
    recall or a higher one.

    times: float32 [R, D], how often each prediction is there. right, counts: bool [D]. positives:
    [R], the number of instances; NaN is returned where it is 0.
    """
    places = np.flatnonzero(right)
    exist = positives > 0
    if not len(places):
        return np.where(exist, 0.0, np.nan)
    # The precision is highest, and the recall changes, only where a prediction is right.
    before = times[:, : places[-1] + 1] * counts[: places[-1] + 1]
    predicted = before.cumsum(1)[:, places].astype(np.float64)
    found = times[:, places].cumsum(1).astype(np.float64)
    precision = found / (predicted + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = found / np.where(exist, positives, 1)[:, None]
    reached = np.searchsorted(_RECALLS, recall, side="right")  # recalls up to this one
    mean = (best * np.diff(reached, axis=1, prepend=0)).sum(1) / len(_RECALLS)
    return np.where(exist, mean, np.nan)
