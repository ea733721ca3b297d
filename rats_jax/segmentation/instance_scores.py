"""Scores of instance segmentation: COCO's average precisions of masks and of their boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.bootstrap import interval, resampled
from rats_jax.segmentation.average_precision import SCORES, PrecisionTable, mean_scores
from rats_jax.segmentation.coco_matching import (
    AREAS,
    KINDS,
    THRESHOLDS,
    Matched,
    match,
    pycocotools,
)
from rats_jax.segmentation.interface import Segmented
from rats_jax.segmentation.predictions import Instances, instances
from rats_jax.segmentation.scoring import (
    ClassScores,
    Estimate,
    Given,
    Measured,
    Scorer,
    State,
    named,
)

_TITLES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
}
_OF_CLASSES = "ap", "ap50", "ap75"  # the scores of each class


class InstanceScorer(Scorer):
    """Of instances."""

    headers = {
        f"instance/{score}_{kind}": f"{title} {kind}"
        for kind in KINDS
        for score, title in _TITLES.items()
    }

    def __init__(self, name: str, classes: Sequence[str]):
        pycocotools()  # before hours of work
        super().__init__(name, classes)

    def predict(self, truth: Segmented, given: Given) -> Instances:
        if isinstance(given, np.ndarray):
            raise UserError(
                "a decoder that predicts the classes of pixels cannot be scored with task=instance"
            )
        self._check_classes(given.class_logits.shape[-1] - 1)
        try:
            return instances(given, truth.image.shape[:2])
        except UserError as error:
            raise named(error, truth.name) from error

    def measure_prediction(self, truth: Segmented, prediction: Instances) -> Measured:
        return Measured(truth.name, match(truth, prediction))

    def metrics(self) -> dict[str, float]:
        scores = {
            f"instance/{score}_{kind}": float(value)
            for kind, table in self._tables().items()
            for score, value in zip(SCORES, table.scores(_once(table))[0], strict=True)
        }
        return {name: value for name, value in scores.items() if not math.isnan(value)}

    def measured(self) -> dict[str, Estimate]:
        found: dict[str, Estimate] = {}
        for kind, table in self._tables().items():
            draws = resampled(table.images, table.scores)
            found |= _estimates(table.scores(_once(table))[0], draws, kind)
        return {name: estimate.of_score() for name, estimate in found.items()}

    def classes(self) -> list[ClassScores]:
        tables = self._tables()
        columns = [
            (f"{score}_{kind}", values)
            for kind, table in tables.items()
            for score, values in zip(SCORES, _of_categories(table).T, strict=True)
            if score in _OF_CLASSES
        ]
        numbers = zip(*(of.tolist() for of in tables["mask"].numbers), strict=True)
        return [
            ClassScores(
                self._names[place],
                {n: float(values[place]) for n, values in columns if not np.isnan(values[place])},
                truth,
                predicted,
            )
            for place, (truth, predicted) in enumerate(numbers)
            if truth or predicted
        ]

    def _difference(self, other: InstanceScorer) -> dict[str, Estimate]:
        found: dict[str, Estimate] = {}
        others = other._tables()
        for kind, table in self._tables().items():
            value, draws = (
                of(table) - of(others[kind])
                for of in (lambda t: t.scores(_once(t))[0], lambda t: resampled(t.images, t.scores))
            )
            found |= _estimates(value, draws, kind)
        return found

    def state(self) -> State:
        names = sorted(self._images)
        state = {"names": np.array(names, str)}
        for kind in KINDS:
            matched = [self._images[name][kind] for name in names]
            state[f"{kind}/lengths"] = np.array([len(of.scores) for of in matched], np.int64)
            lengths = [len(of.true_categories) for of in matched]
            state[f"{kind}/true_lengths"] = np.array(lengths, np.int64)
            for field, values in zip(Matched._fields, zip(*matched, strict=True), strict=False):
                joined = np.concatenate(values)
                state[f"{kind}/{field}"] = _packed(joined) if joined.dtype == bool else joined
        return state

    def merge(self, states: Iterable[State]) -> None:
        for state in states:
            of_kinds = {kind: _parts(state, kind) for kind in KINDS if len(state["names"])}
            for place, name in enumerate(state["names"].tolist()):
                self._images[name] = {kind: parts[place] for kind, parts in of_kinds.items()}

    def _tables(self) -> dict[str, PrecisionTable]:
        images = [self._images[name] for name in sorted(self._images)]
        if not any(of["mask"].true_counts[:, 0].any() for of in images):
            raise UserError(f"{self._name} has no instance to score, other than crowds")
        return {
            kind: PrecisionTable([of[kind] for of in images], len(self._names)) for kind in KINDS
        }


def _once(table: PrecisionTable) -> np.ndarray:
    return np.ones((1, table.images))


def _of_categories(table: PrecisionTable) -> np.ndarray:
    """`SCORES` of each category, float64 [categories, len(SCORES)]."""
    return mean_scores(table.by_category(_once(table))[0][:, None])


def _estimates(values: np.ndarray, draws: np.ndarray, kind: str) -> dict[str, Estimate]:
    ends = zip(SCORES, values, *interval(values, draws), strict=True)
    return {
        f"instance/{score}_{kind}": Estimate(float(value), float(low), float(high))
        for score, value, low, high in ends
        if not math.isnan(value)
    }


def _packed(values: np.ndarray) -> np.ndarray:
    """Bool [D, areas, thresholds] as uint8 [D, 5]."""
    return np.packbits(values.reshape(len(values), -1), axis=1)


def _parts(state: State, kind: str) -> list[Matched]:
    """The matches of each image."""
    ends = [state[f"{kind}/{of}lengths"].cumsum()[:-1] for of in ("", "true_")]
    columns = []
    for field in Matched._fields:
        values = state[f"{kind}/{field}"]
        if values.dtype == np.uint8:
            values = np.unpackbits(values, axis=1, count=len(AREAS) * THRESHOLDS).astype(bool)
            values = values.reshape(-1, len(AREAS), THRESHOLDS)
        columns.append(np.split(values, ends[field.startswith("true_")]))
    return [Matched(*row) for row in zip(*columns, strict=True)]
