"""Outlines in the plane: every function returns a polygon, float64 [points, 2], y pointing down."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Point = tuple[float, float]


@lru_cache(maxsize=256)
def _circle(steps: int) -> np.ndarray:
    angles = np.arange(steps) * (2 * math.pi / steps)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@lru_cache(maxsize=256)
def _catmull_rom(n: int, closed: bool, steps: int) -> np.ndarray:
    """Matrix that takes n control points to points on their Catmull-Rom spline."""
    t = np.arange(steps)[:, None] / steps
    basis = 0.5 * np.concatenate(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2],
        axis=1,
    )
    segments = n if closed else n - 1
    matrix = np.zeros((segments * steps + (not closed), n))
    for segment in range(segments):
        for k in range(4):
            column = segment + k - 1
            column = column % n if closed else min(max(column, 0), n - 1)
            matrix[segment * steps : (segment + 1) * steps, column] += basis[:, k]
    if not closed:
        matrix[-1, -1] = 1.0
    return matrix


def polygon(*points: Point) -> np.ndarray:
    return np.array(points, dtype=np.float64)


def chamfered(*corners: Point, cut: float = 0.035) -> np.ndarray:
    """The polygon with every corner cut a little, so that car bodies have no sharp corners."""
    points = []
    for k, (x, y) in enumerate(corners):
        for other in (corners[k - 1], corners[(k + 1) % len(corners)]):
            dx, dy = other[0] - x, other[1] - y
            share = min(cut / (math.hypot(dx, dy) + 1e-9), 0.4)
            points.append((x + dx * share, y + dy * share))
    return polygon(*points)


def ellipse(
    x: float, y: float, rx: float, ry: float, *, angle: float = 0.0, steps: int = 28
) -> np.ndarray:
    points = _circle(steps) * (rx, ry)
    if angle:
        points = turn(points, angle)
    return points + (x, y)


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> np.ndarray:
    """A closed slice of an ellipse between two angles (radians), cut along its chord."""
    angles = np.linspace(start, stop, 20)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def ring(x: float, y: float, outer: float, inner: float) -> np.ndarray:
    """An annulus as one polygon with a seam."""
    circle = _circle(40)
    closed = np.concatenate([circle, circle[:1]])
    return np.concatenate([closed * outer, closed[::-1] * inner]) + (x, y)


def smooth(*points: Point, steps: int = 5) -> np.ndarray:
    """The closed spline through the points."""
    return _catmull_rom(len(points), True, steps) @ np.array(points)


def curve(points: Sequence[Point], *, steps: int = 5) -> np.ndarray:
    """The open spline through the points."""
    return _catmull_rom(len(points), False, steps) @ np.array(points)


def tube(
    points: Sequence[Point], radii: Sequence[float] | np.ndarray, *, steps: int = 5
) -> np.ndarray:
    """A round-ended limb: the spline through the points, thickened by interpolated radii."""
    matrix = _catmull_rom(len(points), False, steps)
    centre = matrix @ np.array(points, dtype=np.float64)
    radius = np.maximum(matrix @ np.array(radii, dtype=np.float64), 1e-4)[:, None]
    along = np.empty_like(centre)
    along[1:-1] = centre[2:] - centre[:-2]
    along[0], along[-1] = centre[1] - centre[0], centre[-1] - centre[-2]
    along /= np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-12
    side = np.stack([-along[:, 1], along[:, 0]], axis=1)
    half = _circle(12)[1:6]  # from the +side around to the -side
    head = centre[-1] + radius[-1] * (half[:, :1] * side[-1] + half[:, 1:] * along[-1])
    tail = centre[0] - radius[0] * (half[:, :1] * side[0] + half[:, 1:] * along[0])
    return np.concatenate(
        [centre + radius * side, head, (centre - radius * side)[::-1], tail], axis=0
    )


def line(start: Point, stop: Point, radius: float) -> np.ndarray:
    """A straight stroke with square ends."""
    dx, dy = stop[0] - start[0], stop[1] - start[1]
    scale = radius / (math.hypot(dx, dy) + 1e-12)
    nx, ny = -dy * scale, dx * scale
    return polygon(
        (start[0] + nx, start[1] + ny),
        (stop[0] + nx, stop[1] + ny),
        (stop[0] - nx, stop[1] - ny),
        (start[0] - nx, start[1] - ny),
    )


def turn(points: np.ndarray, angle: float) -> np.ndarray:
    """Rotates about the origin; a positive angle turns +x to +y, clockwise on the screen."""
    c, s = math.cos(angle), math.sin(angle)
    return points @ np.array([[c, s], [-s, c]])
