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
    x, y = _outline(corners)
    left, upper = np.minimum(x[1:], x[:-1]), np.minimum(y[1:], y[:-1])
    column = left // _FINER
    crossing = (x[1:] != x[:-1]) & (left % _FINER == _FINER // 2) & (column >= 0) & (column < width)
    mask = np.zeros((width, height), bool)
    if not crossing.any():
        return mask.T
    column = column[crossing]
    row = np.ceil((upper[crossing] + 0.5) / _FINER - 0.5).clip(0, height).astype(np.int64)
    # The outline is closed, so it crosses each column an even number of times: outside of the
    # columns and rows with crossings nothing is inside.
    (start, stop), (top, bottom) = ((of.min(), of.max() + 1) for of in (column, row))
    shape = stop - start, bottom - top
    place = (column - start) * shape[1] + row - top
    changes = np.bincount(place, minlength=shape[0] * shape[1]).astype(np.uint8).reshape(shape)
    inside = np.cumsum(changes, axis=1, dtype=np.uint8) & 1
    mask[start:stop, top : min(bottom, height)] = inside[:, : height - top]
    return mask.T


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


def _outline(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y, int64, of the points of the fine grid along the closed polygon of these corners,
    int64 [n, 2]: one for each step of the longer side of each edge. They are rounded as if the edge
    were drawn from its lower end, as in pycocotools."""
    ends = np.stack([corners, np.roll(corners, -1, axis=0)])
    reach = np.abs(ends[1] - ends[0])
    steep = reach[:, 1] > reach[:, 0]
    # The coordinate along the longer side of each edge, and the other one.
    along, across = (np.where(steep == of, ends[..., 0], ends[..., 1]) for of in (False, True))
    backwards = along[0] > along[1]
    low, high = (np.where(backwards, across[1 - i], across[i]) for i in (0, 1))
    steps = reach.max(1)
    slope = (high - low) / np.maximum(steps, 1)
    edge = np.repeat(np.arange(len(corners)), steps + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    step = np.where(backwards[edge], steps[edge] - step, step)
    along = along.min(0)[edge] + step
    across = (low[edge] + slope[edge] * step + 0.5).astype(np.int64)
    return np.where(steep[edge], across, along), np.where(steep[edge], along, across)
