"""Values in COCO's JSON as tools write them: ids as text, sizes as floats, polygons of no area."""

import re
from collections.abc import Hashable
from typing import Any

LEAST = 6  # numbers of a polygon: three points


def identity(value: Any) -> Hashable | None:
    """An id: the same for 7, 7.0, "7" and "0007"; other text unchanged; None if it is no id."""
    number = whole(value)
    return number if number is not None else (value if isinstance(value, str) and value else None)


def whole(value: Any) -> int | None:
    """7 from 7, 7.0, "7" and "7.0"; None from anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(-?\d{1,40})(\.0*)?\s*", value)
        return int(match[1]) if match else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def size_of(record: dict) -> tuple[int, int] | None:
    """(height, width); None if one of them is missing or not positive."""
    height, width = whole(record.get("height")), whole(record.get("width"))
    return (height, width) if height and width and min(height, width) > 0 else None


def is_crowd(annotation: dict) -> bool | None:
    """False if the annotation has no value; None for a value that is neither yes nor no."""
    value = annotation.get("iscrowd")
    if value is None or value is False or whole(value) == 0:
        return False
    if value is True or whole(value) == 1:
        return True
    words = {"true": True, "false": False, "": False}
    return words.get(value.strip().lower()) if isinstance(value, str) else None


def drawn(segmentation: Any) -> tuple[Any, int]:
    """A segmentation without its polygons of fewer than three points, which have no area, and the
    number of these. A single polygon, of numbers or of points x, y, becomes a list of one polygon;
    an empty segmentation becomes None."""
    if isinstance(segmentation, dict):
        is_rle = segmentation.get("counts") and segmentation.get("size")
        return (segmentation if is_rle else None), 0
    if not isinstance(segmentation, list):
        return None, 0
    if segmentation and not any(isinstance(part, list) for part in segmentation):
        segmentation = [segmentation]
    if len(segmentation) > 2 and all(isinstance(p, list) and len(p) == 2 for p in segmentation):
        segmentation = [[number for point in segmentation for number in point]]
    kept = [part for part in segmentation if not isinstance(part, list) or len(part) >= LEAST]
    return kept or None, len(segmentation) - len(kept)
