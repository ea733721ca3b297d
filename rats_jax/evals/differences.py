"""Differences between two ways of making regions, on the same images.

Scores vary far more between images than between two models on one image. So the interval of the
mean difference is much narrower than those of the two means, and only it shows which is better.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from rats_jax.parts.region_metrics import (
    MeanScores,
    RegionScores,
    mean_scores,
    measured_headers,
)
from rats_jax.writing import markdown_table, with_interval

TRAINED, UNTRAINED = "model: ", "untrained: "


class Difference(NamedTuple):
    """k, resolution: as in `part_scores.Row`. minuend, subtrahend: the names of the two methods.
    scores: means over images of the first minus the second, with paired intervals."""

    k: int | Literal["own"]
    resolution: int | None
    minuend: str
    subtrahend: str
    scores: MeanScores

    @property
    def name(self) -> str:
        return f"{self.minuend} - {self.subtrahend}"


def mean_difference(scores: Sequence[RegionScores], others: Sequence[RegionScores]) -> MeanScores:
    """Means over images of score minus other, with the 95 % percentile bootstrap interval. The
    bootstrap resamples images and keeps both scores of an image together.

    scores, others: of the same images, in the same order; NaN if an image has no labelled pixel.
    """
    pairs = zip(scores, others, strict=True)
    return mean_scores(
        [RegionScores(*(x - y for x, y in zip(*pair, strict=True))) for pair in pairs]
    )


def difference(images: Iterable[Mapping], row: tuple, other: tuple) -> Difference:
    """The scores of one row minus those of another, over all images.

    images: {row: measured} of each image, as in `part_scores.Scored.rows`.
    """
    pairs = [(rows[row].scores, rows[other].scores) for rows in images]
    scores = mean_difference(*zip(*pairs, strict=True))
    return Difference(row.k, row.resolution, row.way, other.way, scores)


def from_untrained(images: Iterable[Mapping]) -> list[Difference]:
    """The trained model minus the untrained one, for each method of making regions. Empty if there
    is no untrained model.

    images: as in `difference`.
    """
    images = list(images)
    trained = [row for row in images[0] if row.way.startswith(TRAINED)]
    pairs = [(row, row._replace(way=row.way.replace(TRAINED, UNTRAINED, 1))) for row in trained]
    return [difference(images, row, twin) for row, twin in pairs if twin in images[0]]


def plain_difference(one: Difference) -> dict:
    """For JSON."""
    parts = {part: getattr(one.scores, part).measured() for part in ("mean", "low", "high")}
    return {"k": one.k, "resolution": one.resolution, "difference": one.name, **parts}


def difference_table(differences: Sequence[Difference]) -> str:
    """A table in Markdown, in percentage points with intervals. It has a column of resolutions if
    there are several."""
    sweep = len({one.resolution for one in differences}) > 1
    headers = measured_headers(one.scores.mean for one in differences)
    head = ["K", *(["resolution"] if sweep else []), "difference", *headers.values()]
    rows = []
    for one in differences:
        resolution = [str(one.resolution)] if sweep else []
        figures = score_cells(one.scores, headers, signed=True)
        rows.append((one.k, *resolution, one.name, *figures))
    return markdown_table(head, rows)


def score_cells(scores: MeanScores, headers: Iterable[str], *, signed: bool = False) -> list[str]:
    """The cells of some scores, in percent with intervals; empty for what cannot be measured."""
    ends = [[getattr(end, name) for end in scores[:3]] for name in headers]
    return ["" if np.isnan(of[0]) else with_interval(*of, signed=signed) for of in ends]
