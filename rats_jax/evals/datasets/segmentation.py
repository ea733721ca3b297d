"""The encodings of a binary mask in annotation files; from overlapping masks to one map."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rats_jax.errors import UserError
from rats_jax.evals.datasets.coco_values import whole
from rats_jax.evals.datasets.part_dataset import Size, Sizes
from rats_jax.evals.datasets.polygon import fill_polygon
from rats_jax.evals.datasets.rle import decode_rle


def decode_all(
    path: Path, segmentations: Iterable[tuple[str, Any]], size: Size
) -> Iterator[np.ndarray]:
    """Bool [h, w] of each (what it is, segmentation) of a file; UserError at a broken one."""
    for what, segmentation in segmentations:
        try:
            yield decode_segmentation(segmentation, size)
        except ValueError as error:
            raise UserError(
                f"{path}: {what} {error}; get the file again, or make it again from the image"
            ) from error


def decode_segmentation(segmentation: Any, size: Size) -> np.ndarray:
    """Bool [h, w] from an RLE (size and counts), a list of polygons, or rows of 0 and 1.

    Several polygons are one mask, their union.

    Raises:
      ValueError: none of these, corrupt, or not of this size; the message goes on after "mask".
    """
    if isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        _check_size(segmentation["size"], size)
        return decode_rle(segmentation["counts"], size)
    if isinstance(segmentation, np.ndarray):
        return _binary(segmentation, size)
    if not isinstance(segmentation, list) or not all(isinstance(s, list) for s in segmentation):
        raise ValueError("is neither RLE (size and counts) nor polygons nor rows of 0 and 1")
    if segmentation and len({len(row) for row in segmentation}) == 1:
        rows = np.asarray(segmentation)
        if rows.ndim == 2 and (rows.dtype == bool or ((rows == 0) | (rows == 1)).all()):
            return _binary(rows, size)
    mask = np.zeros(size, bool)
    for polygon in segmentation:
        mask |= fill_polygon(polygon, size)
    return mask


def size_among(segmentations: Iterable[Any], sizes: Sizes) -> Size:
    """Of an image's sizes the one that the first segmentation has, an RLE or an array; upright if
    it has neither, or is of polygons."""
    for segmentation in segmentations:
        if isinstance(segmentation, np.ndarray):
            given = segmentation.shape
        elif isinstance(segmentation, dict) and isinstance(segmentation.get("size"), list):
            given = tuple(map(whole, segmentation["size"]))
        else:
            continue
        return given if given in sizes else sizes.upright
    return sizes.upright


def smallest_on_top(masks: Iterable[np.ndarray], size: Size) -> np.ndarray:
    """Painted by descending area in pixels, of equal ones the later on top.

    Args:
      masks: bool [h, w], one at a time: a hundred of a large image would fill the memory.

    Returns:
      int32 [h, w]: 0 where no mask is, else 1 + the place of the mask on top.
    """
    labels = np.zeros(size, np.int32)
    flat, smallest = labels.ravel(), np.full(labels.size, labels.size + 1)
    for label, mask in enumerate(masks, 1):
        pixels = np.flatnonzero(mask)
        area = len(pixels)
        pixels = pixels[smallest[pixels] >= area]
        flat[pixels], smallest[pixels] = label, area
    return labels


def _binary(values: np.ndarray, size: Size) -> np.ndarray:
    _check_size(values.shape, size)
    if values.dtype != bool and not ((values == 0) | (values == 1) | (values == 255)).all():
        raise ValueError("is not binary: it holds values other than 0 and 1 (or 255)")
    return values != 0


def _check_size(given: Any, size: Size) -> None:
    try:
        matches = tuple(map(whole, given)) == size
    except TypeError:
        matches = False
    if not matches:
        raise ValueError(f"has size {given}, and the image {list(size)} (height, width)")
