"""Figures that join a part of one category to a figure of another, such as a horse with wings.

They are for questions about parts that a model has not met together: a model that is trained on
ordinary drawings has seen every part, but on its own category only. The mask keeps the ids of both
categories, so the wing of a winged horse is a "bird wing".
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rats_jax.procedural_parts import birds, craft, scaly
from rats_jax.procedural_parts.anatomy import bird_head, mammal_head, tire
from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure, Shape
from rats_jax.procedural_parts.paint import FUR, VIVID, AnimalPaints, MachinePaints
from rats_jax.procedural_parts.scene import DRAW, Sample, Scene, in_a_place, sampled
from rats_jax.procedural_parts.shading import Style
from rats_jax.procedural_parts.shapes import Point, turn
from rats_jax.procedural_parts.taxonomy import PART_IDS

_APART = 2**63  # indices from here on are of composites, so that they are unlike the drawings


class Composite(NamedTuple):
    """host: the category of the figure. part: of another category, such as "bird wing". without:
    the part of the host that it replaces, or "". graft: adds it to the figure."""

    host: str
    part: str
    without: str
    graft: Callable[[Figure, Dice], None]

    @property
    def name(self) -> str:
        """Such as "quadruped + bird"."""
        return f"{self.host} + {self.part.split(' ', 1)[0]}"


def render_composite(*, seed: int, index: int, size: int) -> Sample:
    """Composite `index` of world `seed`, at `size` x `size` pixels; its label is an index into
    `COMPOSITES`.

    A pure function like `scene.render`. Raises ValueError unless 0 <= seed < 2**64, 0 <= index <
    2**63 and 8 <= size <= 2048.
    """
    if not (0 <= seed < 2**64 and 0 <= index < _APART):
        raise ValueError(f"seed or index is out of range: {seed}, {index}")
    return sampled(compose_composite(Dice(seed=seed, index=_APART + index)), size=size)


def compose_composite(dice: Dice) -> Scene:
    """Everything about one composite except its size, see `scene.compose`."""
    label = dice.integer(0, len(COMPOSITES) - 1)
    composite = COMPOSITES[label]
    style = Style(dice)
    figure = DRAW[composite.host](dice)
    composite.graft(figure, dice)
    if composite.without:
        _remove(figure, composite.without)
    return in_a_place(figure, dice, style, label)


def _wings(figure: Figure, dice: Dice) -> None:
    """Two raised wings of a bird: the far one behind the figure, the near one on its body."""
    low, high = _extent(figure, "body")
    long = high[0] - low[0]
    x = low[0] + long * dice.uniform(0.5, 0.6)
    y = _surface(figure, x) + 0.06
    size = min(max(long * dice.uniform(0.55, 0.7), 0.5), 0.85)
    raised = dice.uniform(-0.9, -0.3)
    bird = Figure("bird")
    paints = AnimalPaints(dice, dice.choice((FUR, VIVID, VIVID)))
    birds.open_wing(bird, paints, (x + 0.06, y), raised + 0.55, size * 0.85)
    figure.shapes[:0] = bird.shapes
    bird = Figure("bird")
    birds.open_wing(bird, paints, (x, y + 0.05), raised, size)
    _insert_before(figure, ("head", "side mirror"), bird.shapes)


def _bird_head(figure: Figure, dice: Dice) -> None:
    at, size = _skull(figure)
    bird = Figure("bird")
    paints = AnimalPaints(dice, dice.choice((FUR, VIVID, VIVID)))
    bird_head(bird, dice, paints, at, size, dice.uniform(-0.15, 0.25))
    figure.shapes += bird.shapes


def _mammal_head(figure: Figure, dice: Dice) -> None:
    at, size = _skull(figure)
    mammal = Figure("quadruped")
    paints = AnimalPaints(dice, FUR)
    mammal_head(mammal, dice, paints, at, size, dice.uniform(-0.2, 0.35))
    figure.shapes += mammal.shapes


def _fish_tail(figure: Figure, dice: Dice) -> None:
    """The tail of a fish, turned a little, at the rear end of the body."""
    shapes = _of_part(scaly.fish(dice), "fish tail")
    points = np.concatenate([shape.points for shape in shapes])
    root = np.array([points[:, 0].max() - 0.06, points[:, 1].mean()])
    rear = _rear(figure)
    scale, angle = dice.uniform(1.05, 1.35), dice.uniform(-0.35, 0.35)
    figure.shapes[:0] = [
        shape._replace(points=turn((shape.points - root) * scale, angle) + rear) for shape in shapes
    ]


def _wheels(figure: Figure, dice: Dice) -> None:
    """Two wheels of a car below the body."""
    low, high = _extent(figure, "body")
    long = high[0] - low[0]
    paints = MachinePaints(dice)
    radius = min(long * dice.uniform(0.13, 0.17), 0.2)
    for share in (dice.uniform(0.2, 0.28), dice.uniform(0.63, 0.71)):
        x = low[0] + long * share
        at = (x, _surface(figure, x, lowest=True) + radius * 0.35)
        car = Figure("car")
        tire(car, dice, paints.rim, at, radius, open_spokes=False, turned=dice.uniform(0, 6))
        figure.shapes += car.shapes


def _sail(figure: Figure, dice: Dice) -> None:
    """The sails of a boat, which stand behind the body."""
    shapes = _of_part(craft.boat(dice), "boat sail")
    points = np.concatenate([shape.points for shape in shapes])
    low, high = _extent(figure, "body")
    x = (low[0] + high[0]) / 2 + dice.uniform(-0.08, 0.08)
    foot = np.array([(points[:, 0].min() + points[:, 0].max()) / 2, points[:, 1].max()])
    scale = dice.uniform(0.75, 1.0)
    to = np.array([x, _surface(figure, x) + 0.08])
    figure.shapes[:0] = [
        shape._replace(points=(shape.points - foot) * scale + to) for shape in shapes
    ]


def _of_part(figure: Figure, part: str) -> list[Shape]:
    return [shape for shape in figure.shapes if shape.part == PART_IDS[part]]


def _own(figure: Figure, part: str) -> list[Shape]:
    return _of_part(figure, f"{figure.category} {part}")


def _remove(figure: Figure, part: str) -> None:
    gone = PART_IDS[f"{figure.category} {part}"]
    figure.shapes = [shape for shape in figure.shapes if shape.part != gone]


def _insert_before(figure: Figure, parts: tuple[str, ...], shapes: list[Shape]) -> None:
    """Inserts shapes below the first shape of one of these parts; on top if there is none."""
    ids = {PART_IDS.get(f"{figure.category} {part}") for part in parts}
    places = [i for i, shape in enumerate(figure.shapes) if shape.part in ids]
    place = places[0] if places else len(figure.shapes)
    figure.shapes[place:place] = shapes


def _extent(figure: Figure, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest x, y of a part."""
    points = np.concatenate([shape.points for shape in _own(figure, part)])
    return points.min(0), points.max(0)


def _surface(figure: Figure, x: float, *, lowest: bool = False) -> float:
    """y of the top of the body at x, or of its underside. Details and thin rods do not count."""
    found = []
    for shape in _own(figure, "body"):
        if shape.detail or np.ptp(shape.points, 0).min() < 0.06:
            continue
        start, stop = shape.points, np.roll(shape.points, -1, 0)
        crosses = (start[:, 0] - x) * (stop[:, 0] - x) <= 0
        crosses &= start[:, 0] != stop[:, 0]
        share = (x - start[crosses, 0]) / (stop[crosses, 0] - start[crosses, 0])
        found += (start[crosses, 1] + share * (stop[crosses, 1] - start[crosses, 1])).tolist()
    return max(found) if lowest else min(found)


def _rear(figure: Figure) -> np.ndarray:
    """A point on the body near its rear end, a little below the back."""
    low, high = _extent(figure, "body")
    x = low[0] + 0.08 * (high[0] - low[0])
    top, bottom = _surface(figure, x), _surface(figure, x, lowest=True)
    return np.array([x, top + 0.4 * (bottom - top)])


def _skull(figure: Figure) -> tuple[Point, float]:
    """Centre and radius of the figure's skull, its widest shape of the head."""
    skull = max(_own(figure, "head"), key=lambda shape: math.prod(np.ptp(shape.points, 0)))
    low, high = skull.points.min(0), skull.points.max(0)
    x, y = ((low + high) / 2).tolist()
    return (x, y), float((high - low).min() / 2)


COMPOSITES: tuple[Composite, ...] = (
    Composite("quadruped", "bird wing", "", _wings),
    Composite("reptile", "bird wing", "", _wings),
    Composite("snake", "bird wing", "", _wings),
    Composite("fish", "bird wing", "", _wings),
    Composite("car", "bird wing", "", _wings),
    Composite("biped", "bird head", "head", _bird_head),
    Composite("biped", "quadruped head", "head", _mammal_head),
    Composite("bird", "quadruped head", "head", _mammal_head),
    Composite("quadruped", "fish tail", "tail", _fish_tail),
    Composite("car", "fish tail", "", _fish_tail),
    Composite("fish", "car tire", "", _wheels),
    Composite("boat", "car tire", "", _wheels),
    Composite("quadruped", "car tire", "foot", _wheels),
    Composite("fish", "boat sail", "", _sail),
    Composite("car", "boat sail", "", _sail),
)
