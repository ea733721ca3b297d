"""Matches predicted instances of one image with the true ones, by pycocotools."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.segmentation.interface import Segmented
from rats_jax.segmentation.predictions import Instances

#: What is compared -> pycocotools' name.
KINDS = {"mask": "segm", "box": "bbox"}
#: Of pixels of an instance: all sizes, and COCO's small, medium and large.
AREAS = ("all", "small", "medium", "large")
THRESHOLDS = 10  # of the intersection over union, from .5 to .95


class Matched(NamedTuple):
    """The comparison of an image's D predictions with its truth, for one of `KINDS`.

    categories: int32 [D], ascending. scores: float32 [D], descending in each category. right,
    ignored: bool [D, areas, thresholds], whether it matches an instance, and whether it does not
    count (it matches a crowd or an instance of another size; or it is of another size itself and
    matches none). true_categories: int32 [n], the categories of the image's instances. true_counts:
    int32 [n, areas], how many instances of each count.
    """

    categories: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    true_categories: np.ndarray
    true_counts: np.ndarray


def pycocotools() -> Any:
    """The package. Raises UserError if it is not installed."""
    try:
        import pycocotools.cocoeval
        import pycocotools.mask
    except ImportError:
        raise UserError(
            "scores of instances need pycocotools, which is not installed: pip install -r "
            "requirements-finetune.txt"
        ) from None
    return pycocotools


def match(truth: Segmented, found: Instances) -> dict[str, Matched]:
    """The matches of an image, for each of `KINDS`. The box of a mask is the smallest around it;
    the area of a true instance is that of its mask, also for boxes, as in COCO."""
    coco = pycocotools()
    assert truth.masks is not None and truth.categories is not None and truth.crowd is not None
    true = [
        _annotation(coco, i + 1, mask, int(category))
        | {"iscrowd": int(crowd), "ignore": int(crowd)}
        for i, (mask, category, crowd) in enumerate(
            zip(truth.masks, truth.categories, truth.crowd, strict=True)
        )
    ]
    predicted = [
        _annotation(coco, i + 1, mask, int(category)) | {"score": float(score)}
        for i, (mask, category, score) in enumerate(zip(*found, strict=True))
    ]
    return {kind: _match(coco, true, predicted, kind) for kind in KINDS}


def _annotation(coco: Any, number: int, mask: np.ndarray, category: int) -> dict:
    # Only run lengths that are made from arrays are passed to pycocotools: it ends the process on
    # some that are invalid.
    runs = coco.mask.encode(_by_columns(mask))
    return {
        "id": number,  # from 1: 0 means no match
        "category_id": category,
        "segmentation": runs,
        "bbox": coco.mask.toBbox(runs).tolist(),
        "area": int(coco.mask.area(runs)),
    }


def _by_columns(mask: np.ndarray) -> np.ndarray:
    """A mask, bool [h, w], as uint8 in Fortran's order. Only the box around it is copied, which
    takes a fifth of the time."""
    array = np.zeros(mask.shape, np.uint8, order="F")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows):
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        array[box] = mask[box]
    return array


def _match(coco: Any, true: list[dict], predicted: list[dict], kind: str) -> Matched:
    judge = coco.cocoeval.COCOeval(iouType=KINDS[kind])
    for annotation in true:
        judge._gts[0, annotation["category_id"]].append(dict(annotation))
    for annotation in predicted:
        width, height = annotation["bbox"][2:]
        area = width * height if kind == "box" else annotation["area"]
        judge._dts[0, annotation["category_id"]].append(annotation | {"area": area})
    found = []
    for category in sorted({of["category_id"] for of in (*true, *predicted)}):
        judge.ious[0, category] = judge.computeIoU(0, category)
        by_area = [
            judge.evaluateImg(0, category, area, judge.params.maxDets[-1])
            for area in judge.params.areaRng
        ]
        found.append(_of_category(category, by_area))
    return Matched(*map(np.concatenate, zip(_EMPTY, *found, strict=True)))


def _of_category(category: int, by_area: list[dict]) -> Matched:
    scores = np.array(by_area[0]["dtScores"], np.float32)
    right, ignored = (
        np.stack([np.asarray(of[key]) > 0 for of in by_area]).transpose(2, 0, 1)
        for key in ("dtMatches", "dtIgnore")
    )
    counts = np.array([[(of["gtIgnore"] == 0).sum() for of in by_area]], np.int32)
    exists = int(len(by_area[0]["gtIgnore"]) > 0)
    return Matched(
        np.full(len(scores), category, np.int32),
        scores,
        right,
        ignored,
        np.full(exists, category, np.int32),
        counts[:exists],
    )


_SHAPE = (0, len(AREAS), THRESHOLDS)
_EMPTY = Matched(
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
    np.zeros(_SHAPE, bool),
    np.zeros(_SHAPE, bool),
    np.zeros(0, np.int32),
    np.zeros((0, len(AREAS)), np.int32),
)
