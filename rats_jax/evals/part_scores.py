"""The results of `--task=parts`: the types that its evaluation, tables and plots share."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from rats_jax.parts.region_metrics import (
    MeanScores,
    RegionScores,
    mean_scores,
    weighted_means,
)
from rats_jax.parts.truth import Truth, total


class Row(NamedTuple):
    """One method of making regions.

    k: the requested number of regions; "own" for saved regions and their baselines.
    resolution: pixels of both sides, as a model sees images; None for methods without a model.
    way: the name of the method, such as "model: registers" or "grid".
    """

    k: int | Literal["own"]
    resolution: int | None
    way: str


class Measured(NamedTuple):
    """scores: of one image. regions: how many labels there are, at most K."""

    scores: RegionScores
    regions: int


class Scored(NamedTuple):
    """The scores of an image, and statistics of its mask (`truth`). background: whether the mask
    has the id of the background."""

    name: str
    group: str | None
    rows: dict[Row, Measured]
    truth: Truth
    background: bool = False


class PartScores(NamedTuple):
    """images: in the order of the data set, all with the same rows. skipped: a line for each image
    left out, with the reason."""

    images: list[Scored]
    skipped: list[str]

    @property
    def truth(self) -> Truth:
        """Over all images."""
        return total(image.truth for image in self.images)


class Result(NamedTuple):
    """regions: the actual number of regions, mean over the images scored."""

    row: Row
    scores: MeanScores
    regions: float


def summarised(images: Sequence[Scored]) -> list[Result]:
    """Means over images, sorted by K and then by resolution; rows without one come last."""

    def place(row: Row) -> tuple:
        return row.k == "own", row.k, row.resolution is None, row.resolution

    results = []
    for row in sorted(images[0].rows, key=place):
        measured = [image.rows[row] for image in images]
        scores = mean_scores([one.scores for one in measured])
        results.append(Result(row, scores, float(mean_of(measured)[-1])))
    return results


def mean_of(measured: Sequence[Measured]) -> np.ndarray:
    """Means of the scores and of the number of regions, over the images with a labelled pixel."""
    kept = [one for one in measured if one.scores.measured()]
    values = np.array([(*one.scores, one.regions) for one in kept])
    return weighted_means(values, np.ones(len(kept)))
