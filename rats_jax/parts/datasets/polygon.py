"""Polygons to masks, with the same pixels as pycocotools."""

from collections.abc import Sequence

import numpy as np

_FINER = 5


def fill_polygon(coordinates: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """Bool [h, w]: the inside of the closed polygon x0, y0, x1, y1, ... in pixels.

    As pycocotools (maskApi.c: rleFrPoly): the outline is drawn on a grid five times finer, and
    where it crosses the middle of a column of pixels, the column changes between out and in. A
    column of the fine grid after 2, 7, 12, ... is such a middle.

    Raises:
      ValueError: the list is invalid; the message continues a sentence that starts with "mask".
    """
    height, width = size
    corners = (_FINER * points(coordinates, size) + 0.5).astype(np.int64)
    outline = np.concatenate(
        [_line(*ends) for ends in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    )
    x, y = outline[:, 0], outline[:, 1]
    left, upper = np.minimum(x[1:], x[:-1]), np.minimum(y[1:], y[:-1])
    column = left // _FINER
    crossing = (x[1:] != x[:-1]) & (left % _FINER == _FINER // 2) & (column >= 0) & (column < width)
    row = np.ceil((upper[crossing] + 0.5) / _FINER - 0.5).clip(0, height).astype(np.int64)
    changes = np.bincount(column[crossing] * height + row, minlength=height * width)
    return (changes[: height * width].cumsum() % 2 == 1).reshape(width, height).T


def points(coordinates: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """float64 [n, 2], the x and y of a polygon's points; ValueError as `fill_polygon`."""
    try:
        numbers = np.asarray(coordinates, np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.ndim != 1 or numbers.size < 6 or numbers.size % 2 or not np.isfinite(numbers).all():
        raise ValueError("has a polygon that is not a list of three or more points x, y, x, y")
    limit = 4 * max(size)  # the memory for a line grows with its length
    if np.abs(numbers).max() > limit:
        raise ValueError(f"has a polygon with a coordinate beyond {limit}")
    return numbers.reshape(-1, 2)


def _line(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Points of the fine grid from start to end, int64 [n, 2], one for each step of the longer
    side. They are rounded as if drawn from the lower end, as in pycocotools."""
    reach = np.abs(end - start)
    longer = 0 if reach[0] >= reach[1] else 1
    steps = reach[longer]
    if steps == 0:
        return start[None]
    backwards = start[longer] > end[longer]
    low, high = (end, start) if backwards else (start, end)
    along = np.arange(steps + 1)
    points = np.empty((steps + 1, 2), np.int64)
    points[:, longer] = low[longer] + along
    slope = (high[1 - longer] - low[1 - longer]) / steps
    points[:, 1 - longer] = (low[1 - longer] + slope * along + 0.5).astype(np.int64)
    return points[::-1] if backwards else points
