"""Bootstrap intervals of scores over the images of a whole data set together."""

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 1000
_TOGETHER = 100


def resampled(images: int, scores: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The scores of images drawn with replacement, float64 [RESAMPLES, F].

    The draws depend only on the number of images, so that differences of scores of the same images
    are paired.

    scores: from how often each image is drawn, float64 [R, images], to the scores [R, F].
    """
    rng, odds = np.random.default_rng(0), np.full(images, 1 / max(images, 1))
    return np.concatenate(
        [
            scores(rng.multinomial(images, odds, size=_TOGETHER).astype(np.float64))
            for _ in range(0, RESAMPLES, _TOGETHER)
        ]
    )


def interval(
    estimate: Sequence[float] | np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of 95 % intervals, float64 [F] each; NaN for an estimate that is NaN.

    They are percentiles of the resampled scores, minus the mean bias of resampling: a resample has
    fewer distinct images, which agree more, and lacks some of the rare classes. Resamples in which
    a score is NaN are left out. An interval always has its estimate: without the bias, most draws
    of a saturated score can be on one side of it.

    estimate: [F]. draws: [RESAMPLES, F], as `resampled` returns them, or a difference of two.
    """
    ends = np.full((2, len(estimate)), np.nan)
    for i, (value, of_score) in enumerate(zip(estimate, draws.T, strict=True)):
        known = of_score[~np.isnan(of_score)]
        if len(known) and not np.isnan(value):
            low, high = np.percentile(known, (2.5, 97.5)) - (known.mean() - value)
            ends[:, i] = min(low, value), max(high, value)
    return ends[0], ends[1]
