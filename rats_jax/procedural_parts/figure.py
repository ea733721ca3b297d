"""A drawing under construction: shapes in painter's order, each with its part and its paint."""

from typing import NamedTuple

import numpy as np

from rats_jax.procedural_parts.paint import Paint
from rats_jax.procedural_parts.shapes import Point, turn
from rats_jax.procedural_parts.taxonomy import BACKGROUND, PART_IDS


class Shape(NamedTuple):
    """One filled polygon. A detail is flat on what is below it; other shapes are raised."""

    points: np.ndarray
    part: int
    paint: Paint
    detail: bool


class Figure:
    """Shapes of one object, in its own coordinates: facing right, y down, about one unit long."""

    def __init__(self, category: str | None = None):
        self.category = category
        self.shapes: list[Shape] = []

    def add(self, part: str | None, points: np.ndarray, paint: Paint, *, detail: bool = False):
        """Paints a polygon over the shapes so far; part None is background."""
        part_id = BACKGROUND if part is None else PART_IDS[f"{self.category} {part}"]
        self.shapes.append(Shape(points, part_id, paint, detail))

    def joint(self, part: str | None, at: Point, scale: float = 1.0, angle: float = 0.0) -> "Joint":
        return Joint(self, part, at, scale, angle)


class Joint:
    """A moved, scaled and turned frame in which one part is drawn."""

    def __init__(self, figure: Figure, part: str | None, at: Point, scale: float, angle: float):
        self.figure, self.part, self.at, self.scale, self.angle = figure, part, at, scale, angle

    def add(self, points: np.ndarray, paint: Paint, *, detail: bool = False):
        placed = turn(points * self.scale, self.angle) + self.at
        self.figure.add(self.part, placed, paint, detail=detail)
