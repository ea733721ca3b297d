"""Scores of semantic segmentation: mIoU, aAcc and mAcc, over the pixels of all images together."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.probes.pixel_scores import (
    HEADERS,
    ImageCounts,
    MeasuredPixels,
    PixelCounts,
    count,
)
from rats_jax.parts.regions import resize_labels
from rats_jax.segmentation.interface import Segmented
from rats_jax.segmentation.predictions import labels_of_scores, semantic
from rats_jax.segmentation.scoring import (
    ClassScores,
    Estimate,
    Given,
    Measured,
    Scorer,
    State,
    named,
)


class SemanticScorer(Scorer):
    """Of label maps."""

    headers = {f"semantic/{score}": title for score, title in HEADERS.items()}

    def predict(self, truth: Segmented, given: Given) -> np.ndarray:
        size = truth.image.shape[:2]
        if isinstance(given, np.ndarray) and given.ndim == 2:
            return resize_labels(given, size).astype(np.int16)
        found = (
            given.shape[-1] if isinstance(given, np.ndarray) else given.class_logits.shape[-1] - 1
        )
        self._check_classes(found)
        try:
            if isinstance(given, np.ndarray):
                return labels_of_scores(given, size)
            return semantic(given, size)
        except UserError as error:
            raise named(error, truth.name) from error

    def measure_prediction(self, truth: Segmented, prediction: np.ndarray) -> Measured:
        assert truth.labels is not None, "an image of --task=semantic"
        (counts,) = count(truth.labels, [prediction], np.arange(len(self._names)))
        return Measured(truth.name, counts)

    def metrics(self) -> dict[str, float]:
        scores = self._counts().mean()
        if math.isnan(scores.aacc):
            raise UserError(f"{self._name} has no labelled pixel to score: all are void")
        return {f"semantic/{score}": value for score, value in scores._asdict().items()}

    def measured(self) -> dict[str, Estimate]:
        self.metrics()  # whether there is something to score
        found = _estimates(self._counts().scores())
        return {name: estimate.of_score() for name, estimate in found.items()}

    def classes(self) -> list[ClassScores]:
        return [
            ClassScores(
                self._names[place],
                {
                    name: value
                    for name, value in (("iou", of.iou), ("accuracy", of.accuracy))
                    if not math.isnan(value)
                },
                of.pixels,
                of.predicted,
            )
            for place, of in self._counts().classes().items()
        ]

    def _difference(self, other: SemanticScorer) -> dict[str, Estimate]:
        return _estimates(self._counts().difference(other._counts()))

    def state(self) -> State:
        counts = [self._images[name] for name in sorted(self._images)]
        table = np.concatenate([np.zeros((4, 0), np.int64), *(np.stack(of) for of in counts)], 1)
        return {
            "names": np.array(sorted(self._images), str),
            "lengths": np.array([len(of.ids) for of in counts], np.int64),
            "counts": table,
        }

    def merge(self, states: Iterable[State]) -> None:
        for state in states:
            parts = np.split(state["counts"], state["lengths"].cumsum()[:-1], axis=1)
            for name, part in zip(state["names"].tolist(), parts, strict=False):
                self._images[name] = ImageCounts(*part)

    def _counts(self) -> PixelCounts:
        """Those of all images, in the order of their names."""
        counts = PixelCounts()
        for name in sorted(self._images):
            counts.add(self._images[name])
        return counts


def _estimates(measured: MeasuredPixels) -> dict[str, Estimate]:
    return {
        f"semantic/{score}": Estimate(*(getattr(end, score) for end in measured))
        for score in HEADERS
    }
