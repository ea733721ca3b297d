"""How well a region map agrees with ground-truth parts: M2O, O2O, ARI, mBO and FG-ARI.

All follow from one table of pixel counts, truth regions x predicted regions. For M2O, O2O and ARI
the background is a region like any other, unless its id is the void id. mBO and FG-ARI leave it
out, if its id is given.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError

_DENSE_RANGE = 1024  # ids with a larger range (panoptic ones reach 2^24) are sorted first


class RegionScores(NamedTuple):
    """Fractions, 1 is perfect: M2O, O2O and mBO in 0..1, ARI in -0.5..1 with chance at 0. NaN for
    what cannot be measured, see `score`."""

    m2o: float
    o2o: float
    ari: float
    mbo: float
    fg_ari: float

    def measured(self) -> dict[str, float]:
        """By name, without those that are NaN."""
        return {name: x for name, x in self._asdict().items() if not np.isnan(x)}


#: Their names in tables and pictures.
HEADERS = dict(zip(RegionScores._fields, ("M2O", "O2O", "ARI", "mBO", "FG-ARI"), strict=True))
UNSCORED = RegionScores(*[np.nan] * len(RegionScores._fields))  # of an image of void pixels


class MeanScores(NamedTuple):
    """Means over images, with the ends of their 95 % bootstrap intervals."""

    mean: RegionScores
    low: RegionScores
    high: RegionScores
    images: int  # images with a labelled pixel


def score(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    void: int | None = None,
    background: int | None = None,
) -> RegionScores:
    """Scores one image.

    - M2O (the paper's primary metric): every predicted region joins the truth region it overlaps
      most (ties: the lowest id). M2O is the mean over truth regions of the IoU of each with the
      union of its predictions, 0 if it has none.
    - O2O: regions paired one to one for the largest sum of IoU (Hungarian); that sum divided by
      the number of truth regions.
    - ARI: the full adjusted Rand index (Hubert and Arabie 1985), as scikit-learn computes it: from
      exact integers, and 1 where prediction and truth are the same partition, even a trivial one.

    - mBO (mean best overlap): the mean over truth regions without the background of the largest
      IoU with any predicted region. One predicted region may be the best for several.
    - FG-ARI: ARI over the pixels whose truth is not the background.

    With a single truth region M2O is thus 1, O2O the IoU of the largest predicted region, and ARI
    1 if the prediction has a single region too, else 0.

    Args:
      prediction, truth: integer maps of one shape; any ids.
      void: truth id of pixels that are ignored in all scores.
      background: truth id that is no part. If it is None, mBO is over all truth regions, and FG-ARI
        is NaN.

    Returns:
      The scores in float64; all NaN if no pixel is left, and mBO and FG-ARI NaN if all pixels left
      are background. `mean_scores` leaves out such images.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction is {prediction.shape}, truth is {truth.shape}")
    counts, ids = _overlaps(prediction, truth, void=void)
    if counts.size == 0:
        return UNSCORED
    parts = ids != background
    fg_ari = np.nan
    if background is not None and parts.any():
        fg_ari = adjusted_rand(counts[parts])
    return RegionScores(
        _many_to_one(counts),
        _one_to_one(counts),
        adjusted_rand(counts),
        _mean_best(counts, parts),
        fg_ari,
    )


def overlaps(prediction: np.ndarray, truth: np.ndarray, *, void: int | None = None) -> np.ndarray:
    """Pixels in common, int64 [truth regions, predicted regions], each in ascending order of id.

    Only regions with a pixel outside void have a row or column.
    """
    return _overlaps(prediction, truth, void=void)[0]


def _overlaps(
    prediction: np.ndarray, truth: np.ndarray, *, void: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """`overlaps`, and the ids of its truth regions."""
    prediction, truth = (np.asarray(ids).ravel() for ids in (prediction, truth))
    if void is not None:
        valid = truth != void
        prediction, truth = prediction[valid], truth[valid]
    if truth.size == 0:
        return np.zeros((0, 0), np.int64), np.zeros(0, np.int64)
    rows, ids = positions(truth)
    columns, others = positions(prediction)
    shape = len(ids), len(others)
    table = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)
    occur = table.any(1)
    return table[np.ix_(occur, table.any(0))], ids[occur]


def mean_scores(
    scores: Sequence[RegionScores], *, seed: int = 0, resamples: int = 1000
) -> MeanScores:
    """Mean over images, with the 95 % percentile bootstrap interval from resampling images. A score
    that is NaN for some images is averaged over the others.

    Raises:
      UserError: if no image had a labelled pixel.
    """
    values = np.asarray(scores, np.float64).reshape(-1, len(RegionScores._fields))
    values = values[~np.isnan(values).all(1)]
    count = len(values)
    if count == 0:
        raise UserError("no image has a labelled pixel to score; check the masks and the void id")
    # a resample is stored as how often each image is drawn: one product gives its means
    rng, odds = np.random.default_rng(seed), np.full(count, 1 / count)
    means = [weighted_means(values, rng.multinomial(count, odds)) for _ in range(resamples)]
    ends = np.transpose(
        [_interval(of_score[~np.isnan(of_score)]) for of_score in np.transpose(means)]
    )
    mean, low, high = (
        RegionScores(*map(float, row)) for row in (weighted_means(values, np.ones(count)), *ends)
    )
    return MeanScores(mean, low, high, count)


def weighted_means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means of the columns of values [n, F] without their NaN; NaN for a column without values."""
    known = ~np.isnan(values)
    total = weights @ known
    sums = weights @ np.where(known, values, 0)
    return np.where(total > 0, sums / np.maximum(total, 1), np.nan)


def _interval(means: np.ndarray) -> np.ndarray:
    return np.percentile(means, (2.5, 97.5)) if len(means) else np.full(2, np.nan)


def measured_headers(means: Iterable[RegionScores]) -> dict[str, str]:
    """`HEADERS` of the scores that are known for any of the means."""
    known = {name for mean in means for name in mean.measured()}
    return {name: header for name, header in HEADERS.items() if name in known}


def pairwise_iou(counts: np.ndarray) -> np.ndarray:
    """IoU of each truth region with each predicted one, float64, from `overlaps`."""
    return counts / (counts.sum(1, keepdims=True) + counts.sum(0) - counts)


def positions(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps ids to int64 positions in their order, which may have gaps; and the id of each
    position."""
    low, high = int(ids.min()), int(ids.max())  # Python integers, because small types overflow
    if high - low < _DENSE_RANGE:
        return ids.astype(np.int64) - low, np.arange(low, high + 1)
    values, places = np.unique(ids, return_inverse=True)
    return places, values


def best_pairs(iou: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows and the columns of the one-to-one assignment with the largest sum."""
    # Imported here, since it takes half a second, and evaluations are imported for their names.
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(iou, maximize=True)


def _many_to_one(counts: np.ndarray) -> float:
    owner = counts.argmax(0)  # of equals argmax takes the first, which has the lowest id
    joined = owner == np.arange(len(counts))[:, None]
    shared = (counts * joined).sum(1)
    union = counts.sum(1) + (counts.sum(0) * joined).sum(1) - shared
    return float((shared / union).mean())


def _one_to_one(counts: np.ndarray) -> float:
    iou = pairwise_iou(counts)
    return float(iou[best_pairs(iou)].sum() / len(counts))


def _mean_best(counts: np.ndarray, parts: np.ndarray) -> float:
    """parts: which rows count."""
    return float(pairwise_iou(counts)[parts].max(1).mean()) if parts.any() else np.nan


def adjusted_rand(counts: np.ndarray) -> float:
    # Counts of ordered pairs of pixels. Python integers, because the products reach 1e21 at
    # 512 x 512, where float64 would suffer from cancellation.
    pixels = int(counts.sum())
    same_both = int((counts**2).sum())
    same_truth, same_prediction = (int((counts.sum(axis) ** 2).sum()) for axis in (1, 0))
    split = same_truth - same_both  # together in truth, apart in prediction
    merged = same_prediction - same_both
    if split == merged == 0:
        return 1.0
    agree = same_both - pixels
    apart = pixels**2 - same_both - split - merged
    numerator = 2 * (agree * apart - split * merged)
    return numerator / ((agree + split) * (split + apart) + (agree + merged) * (merged + apart))
