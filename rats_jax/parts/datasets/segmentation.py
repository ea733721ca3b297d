"""Decodes binary masks in annotation files, and merges overlapping masks into one map."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.datasets.coco_values import whole
from rats_jax.parts.datasets.part_dataset import Entry, Size, Sizes, different_sizes
from rats_jax.parts.datasets.polygon import fill_polygon, points
from rats_jax.parts.datasets.rle import decode_rle

_BEYOND = 2  # pixels by which tools let a polygon extend beyond its image


def decode_all(
    path: Path, segmentations: Iterable[tuple[str, Any]], size: Size
) -> Iterator[np.ndarray]:
    """Bool [h, w] for each (name, segmentation) of a file; UserError at an invalid one."""
    for what, segmentation in segmentations:
        try:
            yield decode_segmentation(segmentation, size)
        except ValueError as error:
            raise UserError(
                f"{path}: {what} {error}; download the file again, or create it again from the "
                "image"
            ) from error


def decode_segmentation(segmentation: Any, size: Size) -> np.ndarray:
    """Bool [h, w] from an RLE (size and counts), a list of polygons, or rows of 0 and 1.

    Several polygons are one mask, their union.

    Raises:
      ValueError: the segmentation is none of these, corrupt, or not of this size; the message
        continues a sentence that starts with "mask".
    """
    if isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        _check_size(segmentation["size"], size)
        return decode_rle(segmentation["counts"], size)
    if isinstance(segmentation, np.ndarray):
        return _binary(segmentation, size)
    if not isinstance(segmentation, list) or not all(isinstance(s, list) for s in segmentation):
        raise ValueError("is neither RLE (size and counts) nor polygons nor rows of 0 and 1")
    if (rows := _rows(segmentation)) is not None:
        return _binary(rows, size)
    masks = [fill_polygon(polygon, size) for polygon in segmentation]
    mask = masks[0] if masks else np.zeros(size, bool)
    for other in masks[1:]:
        mask |= other
    return mask


def size_among(entry: Entry, segmentations: Iterable[Any], sizes: Sizes) -> tuple[Size, bool]:
    """The one of an image's sizes that its masks have, and whether they determine it. They do by
    the size of an RLE or array, or else if all polygons fit in only one size. Otherwise the upright
    size is returned.

    Raises:
      UserError: the polygons reach beyond both.
    """
    reach = np.zeros(2)
    for segmentation in segmentations:
        if (given := _own_size(segmentation)) in sizes:
            return given, True
        if given is None:
            reach = np.maximum(reach, _reach(segmentation, sizes.upright))
    fitting = [size for size in dict.fromkeys(sizes) if (reach <= np.add(size, _BEYOND)).all()]
    if not fitting:
        height, width = map(int, np.ceil(reach))
        said = f"{entry.mask}: the polygons of {entry.name} extend over"
        raise UserError(different_sizes(entry, said, (height, width), sizes))
    return fitting[0], len(fitting) == 1


def smallest_on_top(masks: Iterable[np.ndarray], size: Size) -> np.ndarray:
    """One map of masks that may overlap: the smallest in pixels is on top, of equals the later.

    Args:
      masks: bool [h, w], one at a time: a hundred of a large image would fill the memory.

    Returns:
      int32 [h, w]: 0 where there is no mask, else 1 + the index of the mask on top.
    """
    labels = np.zeros(size, np.int32)
    flat, smallest = labels.ravel(), np.full(labels.size, labels.size + 1)
    for label, mask in enumerate(masks, 1):
        pixels = np.flatnonzero(mask)
        area = len(pixels)
        pixels = pixels[smallest[pixels] >= area]
        flat[pixels], smallest[pixels] = label, area
    return labels


def _own_size(segmentation: Any) -> Size | None:
    """The size that the segmentation itself has, unchecked; None for polygons."""
    if isinstance(segmentation, dict):
        given = segmentation.get("size")
        return tuple(map(whole, given)) if isinstance(given, list) else None
    rows = segmentation if isinstance(segmentation, np.ndarray) else _rows(segmentation)
    return None if rows is None else rows.shape


def _reach(polygons: Any, size: Size) -> np.ndarray:
    """[height, width] from 0 to the farthest point; 0 for what cannot be decoded."""
    try:
        return np.max([points(polygon, size).max(0)[::-1] for polygon in polygons], 0)
    except (TypeError, ValueError):
        return np.zeros(2)


def _rows(segmentation: Any) -> np.ndarray | None:
    """The list of lists as an array if it is rows of 0 and 1, else None."""
    if not isinstance(segmentation, list) or not all(isinstance(s, list) for s in segmentation):
        return None
    if len({len(row) for row in segmentation}) != 1:
        return None
    try:
        rows = np.asarray(segmentation)
    except ValueError:  # lists of different lengths
        return None
    is_binary = rows.ndim == 2 and (rows.dtype == bool or ((rows == 0) | (rows == 1)).all())
    return rows if is_binary else None


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
        raise ValueError(f"has size {given}, but the image has {list(size)} (height, width)")
