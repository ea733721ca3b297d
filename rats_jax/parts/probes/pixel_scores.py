"""Scores of semantic segmentation, as mmseg defines them: over the pixels of all images together.

All of them follow from three counts for each class: pixels of the class, pixels predicted as the
class, and pixels of both. Void pixels do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.bootstrap import interval, resampled
from rats_jax.parts.datasets import VOID
from rats_jax.parts.probes.patch_labels import ids_in, places_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: Score -> display name.
HEADERS = {"miou": "mIoU", "aacc": "aAcc", "macc": "mAcc"}


class PixelScores(NamedTuple):
    """miou: mean over classes of the intersection over union. aacc: share of all pixels that are
    right. macc: mean over classes of the share of their pixels that are right. A class without a
    pixel, and for `miou` without a prediction, is left out of the mean."""

    miou: float
    aacc: float
    macc: float


class MeasuredPixels(NamedTuple):
    """An estimate and the ends of its 95 % bootstrap interval."""

    mean: PixelScores
    low: PixelScores
    high: PixelScores


class OfClass(NamedTuple):
    """iou, accuracy: NaN if not defined. pixels, predicted: numbers of pixels."""

    iou: float
    accuracy: float
    pixels: int
    predicted: int


class ImageCounts(NamedTuple):
    """Numbers of pixels in an image, int64 [K] each, of the classes `ids` that occur in it."""

    ids: np.ndarray
    shared: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def count(
    mask: np.ndarray, predictions: Sequence[np.ndarray], classes: np.ndarray
) -> list[ImageCounts]:
    """The counts of an image for each prediction.

    mask: ids or VOID. predictions: places in `classes` (ids, ascending), of the mask's shape. Ids
    of the mask that are not in `classes` count; they cannot be predicted.
    """
    truth, labelled = places_of(mask, classes), mask != VOID
    strange = mask[labelled & (truth < 0)]
    strangers = ids_in(strange)
    of_strangers = np.bincount(np.searchsorted(strangers, strange), minlength=len(strangers))
    ids = np.concatenate([classes, strangers]).astype(np.int64)

    def counted(places: np.ndarray) -> np.ndarray:
        return np.bincount(places, minlength=len(ids))

    of_truth = counted(truth[truth >= 0])
    of_truth[len(classes) :] = of_strangers
    found = []
    for prediction in predictions:
        shared = counted(truth[truth == prediction])
        table = np.stack([ids, shared, of_truth, counted(prediction[labelled])])
        found.append(ImageCounts(*table[:, table[2:].any(0)]))
    return found


class PixelCounts:
    """The counts of many images; memory grows with the classes that occur in each.

    All `PixelCounts` of the same number of images are resampled by the same draws, so that
    differences are paired.
    """

    def __init__(self):
        self._images: list[ImageCounts] = []
        self._known: tuple[PixelScores, np.ndarray] | None = None

    def add(self, image: ImageCounts) -> None:
        """Adds an image."""
        self._images.append(image)
        self._known = None

    def scores(self) -> MeasuredPixels:
        """The scores over all pixels. Raises UserError if no pixel is labelled."""
        mean, resampled = self._resampling()
        measured = _measured(mean, resampled)
        low, high = (PixelScores(*np.clip(of, 0, 1).tolist()) for of in measured[1:])
        return MeasuredPixels(measured.mean, low, high)

    def mean(self) -> PixelScores:
        """The scores without intervals; NaN if no pixel is labelled."""
        _, table = self._table()
        return PixelScores(*_scores(np.asarray(table.sum(0))[None])[0].tolist())

    def difference(self, other: PixelCounts) -> MeasuredPixels:
        """These scores minus those of `other`, which has the same images in the same order."""
        (one, resampled), (two, others) = self._resampling(), other._resampling()
        mean = PixelScores(*(x - y for x, y in zip(one, two, strict=True)))
        return _measured(mean, resampled - others)

    def classes(self) -> dict[int, OfClass]:
        """Each class that occurs, by its id."""
        ids, table = self._table()
        shared, truth, predicted = np.asarray(table.sum(0)).reshape(3, -1)
        rows = (ids, *_ratios(shared, truth, predicted), truth, predicted)
        return {
            int(id_): OfClass(float(iou), float(accuracy), int(pixels), int(guesses))
            for id_, iou, accuracy, pixels, guesses in zip(*rows, strict=True)
        }

    def _resampling(self) -> tuple[PixelScores, np.ndarray]:
        """The scores, and those of resampled images [RESAMPLES, 3]."""
        if self._known is None:
            _, table = self._table()
            mean = self.mean()
            if np.isnan(mean.aacc):
                raise UserError("no image has a labelled pixel to score: all are void")
            draws = resampled(table.shape[0], lambda drawn: _scores(drawn @ table))
            self._known = mean, draws
        return self._known

    def _table(self) -> tuple[np.ndarray, csr_array]:
        """ids [K], and counts of each image [images, 3 K]: shared, truth, predicted."""
        # Imported here, since evaluations during training are imported for their names.
        from scipy.sparse import csr_array

        ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(of.ids for of in self._images)]))
        image = np.repeat(np.arange(len(self._images)), [3 * len(of.ids) for of in self._images])
        columns = [np.searchsorted(ids, of.ids) + len(ids) * part for of in self._images
                   for part in range(3)]  # fmt: skip
        counts = [values for of in self._images for values in of[1:]]
        columns, counts = (np.concatenate([np.zeros(0, int), *x]) for x in (columns, counts))
        shape = len(self._images), 3 * len(ids)
        return ids, csr_array((counts.astype(np.float64), (image, columns)), shape)


def _ratios(
    shared: np.ndarray, truth: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """IoU and accuracy of each class, NaN where there is nothing to divide by."""
    union = truth + predicted - shared
    return tuple(
        np.where(whole > 0, shared / np.where(whole > 0, whole, 1), np.nan)
        for whole in (union, truth)
    )


def _scores(counts: np.ndarray) -> np.ndarray:
    """The `PixelScores` of each row of counts [R, 3 K], float64 [R, 3]; NaN without a pixel."""
    shared, truth, predicted = np.split(counts, 3, axis=1)
    iou, accuracy = _ratios(shared, truth, predicted)
    pixels = truth.sum(1)
    right = np.where(pixels > 0, shared.sum(1) / np.where(pixels > 0, pixels, 1), np.nan)
    return np.stack([_mean(iou), right, _mean(accuracy)], 1)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean of each row without NaN; NaN if all are."""
    known = ~np.isnan(values)
    number = known.sum(1)
    total = np.where(known, values, 0).sum(1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _measured(mean: PixelScores, draws: np.ndarray) -> MeasuredPixels:
    low, high = interval(mean, draws)
    return MeasuredPixels(mean, PixelScores(*low.tolist()), PixelScores(*high.tolist()))
