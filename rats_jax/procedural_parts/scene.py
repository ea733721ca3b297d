"""One image of the world: an object somewhere in a place, its exact part mask and its label."""

import math
from typing import NamedTuple

import numpy as np

from rats_jax.procedural_parts import birds, bottles, craft, mammals, scaly, vehicles
from rats_jax.procedural_parts.canvas import rasterise
from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure, Shape
from rats_jax.procedural_parts.scenery import backdrop, foreground
from rats_jax.procedural_parts.shading import Style, shade
from rats_jax.procedural_parts.shapes import ellipse, turn
from rats_jax.procedural_parts.taxonomy import SUPER_CATEGORIES

DRAW = {
    "quadruped": mammals.quadruped,
    "biped": mammals.biped,
    "fish": scaly.fish,
    "bird": birds.bird,
    "snake": scaly.snake,
    "reptile": scaly.reptile,
    "car": vehicles.car,
    "bicycle": vehicles.bicycle,
    "boat": craft.boat,
    "aeroplane": craft.aeroplane,
    "bottle": bottles.bottle,
}
TILT = {"fish": 0.35, "bird": 0.2, "aeroplane": 0.4, "snake": 0.3, "bottle": 0.25}  # radians
GROUNDED = ("quadruped", "biped", "reptile", "car", "bicycle", "bottle")


class Sample(NamedTuple):
    """image: uint8 [size, size, 3], sRGB; parts: uint8 [size, size], 0..39 or BACKGROUND; label."""

    image: np.ndarray
    parts: np.ndarray
    label: int


class Scene(NamedTuple):
    """Shapes in painter's order: the place, the object, and what hides parts of the object."""

    behind: list[Shape]
    figure: list[Shape]
    front: list[Shape]
    style: Style
    label: int


def render(*, seed: int, index: int, size: int) -> Sample:
    """Image `index` of world `seed`, at `size` x `size` pixels.

    A pure function: shapes and paints depend only on (seed, index), and `size` is only the
    resolution at which they are sampled. Raises ValueError unless 0 <= seed, index < 2**64 and
    8 <= size <= 2048.
    """
    if not (0 <= seed < 2**64 and 0 <= index < 2**64):
        raise ValueError(f"seed and index must lie in 0..2**64-1, not {seed}, {index}")
    return sampled(compose(Dice(seed=seed, index=index)), size=size)


def sampled(scene: Scene, *, size: int) -> Sample:
    """The picture of a scene and its mask. Raises ValueError unless 8 <= size <= 2048."""
    if not 8 <= size <= 2048:
        raise ValueError(f"size must lie in 8..2048, not {size}")
    shapes = scene.behind + scene.figure + scene.front
    layers = rasterise(shapes, size=size, light=scene.style.light)
    return Sample(shade(layers, scene.style), layers.parts, scene.label)


def compose(dice: Dice) -> Scene:
    """Everything about one image except its size, in frame coordinates (0..1, y down)."""
    label = dice.integer(0, len(SUPER_CATEGORIES) - 1)
    category = SUPER_CATEGORIES[label]
    style = Style(dice)
    return in_a_place(DRAW[category](dice), dice, style, label)


def in_a_place(figure: Figure, dice: Dice, style: Style, label: int) -> Scene:
    """The scene of a figure, in a place that is usual for its category."""
    category = figure.category or ""
    placed = _place(figure, dice)
    colours = [s.paint.first for s in figure.shapes if not s.detail]
    shadow = _shadow(placed) if category in GROUNDED else None
    behind = backdrop(dice, category, colours, shadow)
    front = foreground(dice, colours) if dice.chance(0.4) else []
    return Scene(behind, placed, front, style, label)


def _place(figure: Figure, dice: Dice) -> list[Shape]:
    """Turns the object left or right, tilts, stretches and scales it, and puts it in the frame."""
    stops = np.cumsum([len(s.points) for s in figure.shapes])
    points = np.concatenate([s.points for s in figure.shapes])
    points = points * (dice.uniform(0.82, 1.08), 1.0)
    tilt = TILT.get(figure.category or "", 0.08)
    points = turn(points, dice.uniform(-tilt, tilt))
    if figure.category == "bottle" and dice.chance(0.2):
        points = turn(points, math.pi / 2 + dice.uniform(-0.15, 0.15))
    if dice.chance(0.5):
        points[:, 0] *= -1
    low, high = points.min(0), points.max(0)
    extent = high - low
    # The geometric mean of the sides is a share of the frame, but no side is much longer than it.
    share = dice.uniform(0.6, 0.95)
    scale = min(share / math.sqrt(extent[0] * extent[1]), dice.uniform(0.86, 1.07) / extent.max())
    slack = np.maximum(1 - extent * scale, 0) / 2
    centre = 0.5 + slack * (dice.uniform(-1, 1), dice.uniform(-0.6, 0.9)) * 0.9
    if dice.chance(0.15):  # cut by the frame
        centre = centre + (dice.uniform(-0.22, 0.22), dice.uniform(-0.12, 0.12))
    points = (points - (low + high) / 2) * scale + centre
    pieces = np.split(points, stops[:-1])
    return [s._replace(points=p) for s, p in zip(figure.shapes, pieces, strict=True)]


def _shadow(placed: list[Shape]) -> np.ndarray:
    points = np.concatenate([s.points for s in placed])
    (left, _), (right, floor) = points.min(0), points.max(0)
    return ellipse((left + right) / 2, floor - 0.012, (right - left) * 0.47, 0.035)
