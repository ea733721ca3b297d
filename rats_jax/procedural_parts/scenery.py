"""What is behind the object and sometimes in front of it; all of it is background."""

import math

import numpy as np

from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure, Shape
from rats_jax.procedural_parts.paint import (
    EARTH,
    INK,
    VIVID,
    WHITE,
    Colour,
    Paint,
    jitter,
    mix,
)
from rats_jax.procedural_parts.places import PLACES, WOOD
from rats_jax.procedural_parts.shapes import ellipse, line, polygon, smooth, tube

HABITATS = {
    "quadruped": ("meadow", "meadow", "street", "room"),
    "biped": ("meadow", "meadow", "room"),
    "fish": ("deep", "deep", "deep", "room"),
    "bird": ("meadow", "sky", "sky", "shore"),
    "snake": ("meadow", "meadow", "room"),
    "reptile": ("meadow", "meadow", "shore"),
    "car": ("street", "street", "meadow"),
    "bicycle": ("street", "street", "meadow"),
    "boat": ("shore", "shore", "sky"),
    "aeroplane": ("sky", "sky", "street"),
    "bottle": ("room", "room", "street"),
}
ANYWHERE = tuple(PLACES)


def backdrop(
    dice: Dice, category: str, colours: list[Colour], shadow: np.ndarray | None
) -> list[Shape]:
    """A place that suits the category or, one time in three, any place, with clutter.

    Some of the clutter has the object's colours, so that colour alone never separates the object
    from its surroundings. `shadow` is the outline of the object's shadow, if it has one.
    """
    place = dice.choice(HABITATS[category] if dice.chance(0.66) else ANYWHERE)
    scene = Figure()
    ground = dice.uniform(0.5, 0.72)
    if shadow is not None:  # the object stands on the ground, not above the horizon
        ground = min(ground, shadow[:, 1].mean() - dice.uniform(0.1, 0.2))
    PLACES[place](scene, dice, ground)
    floor = [s.paint for s in scene.shapes if np.ptp(s.points[:, 0]) > 1][-1]
    for _ in range(dice.integer(2, 8) + (6 if place == "clutter" else 0)):
        colour = dice.choice(colours) if dice.chance(0.45) else dice.choice(VIVID + EARTH)
        _thing(scene, dice, jitter(dice, mix(colour, WHITE, dice.uniform(0, 0.3))), ground)
    if shadow is not None:
        scene.add(None, shadow, floor.dimmed(0.62)._replace(volume=0.0), detail=True)
    return scene.shapes


def _thing(scene: Figure, dice: Dice, colour: Colour, ground: float):
    """One piece of clutter: a balloon in the air, or a stone, block, bush, post, worm or tent."""
    x, y, size = dice.random(), ground + dice.uniform(-0.02, 0.36), dice.uniform(0.035, 0.12)
    other = mix(colour, WHITE if dice.chance(0.5) else INK, 0.4)
    pattern = dice.uniform(0.3, 1.0) if dice.chance(0.4) else 0.0
    paint = Paint(colour, other, coat=pattern, grain=0.3)
    kind = dice.choice(("balloon", "stone", "block", "bush", "post", "worm", "tent"))
    if kind == "balloon":
        y = dice.uniform(0.05, ground)
        scene.add(None, line((x, y), (x + 0.02, y + 2.6 * size), 0.006), paint.dimmed(0.6))
        scene.add(None, ellipse(x, y, size * 0.8, size), paint)
    elif kind == "stone":
        squash = dice.uniform(0.6, 1.0)
        scene.add(None, ellipse(x, y, size, size * squash, angle=dice.uniform(-0.3, 0.3)), paint)
    elif kind == "block":
        scene.add(
            None,
            line((x - size, y), (x + size * 0.5, y + dice.uniform(-0.02, 0.02)), size * 0.75),
            paint,
        )
    elif kind == "bush":
        for dx, lift in ((-0.7, 0.0), (0.7, 0.1), (0.0, 0.5)):
            scene.add(
                None,
                ellipse(x + dx * size, y - lift * size, size * 0.8, size * 0.75, steps=18),
                paint,
            )
    elif kind == "post":
        scene.add(None, line((x, y + size), (x, y - 2.5 * size), size * 0.3), paint)
        scene.add(
            None, ellipse(x, y - 2.5 * size, size * 0.7, size * 0.7, steps=18), paint.dimmed(0.85)
        )
    elif kind == "worm":
        spine = [(x + (k - 1.5) * size, y + dice.uniform(-0.7, 0.7) * size) for k in range(4)]
        scene.add(None, tube(spine, [size * 0.35] * 4), paint)
    else:
        top = (x + dice.uniform(-0.4, 0.4) * size, y - size)
        scene.add(None, polygon((x - size, y + size), top, (x + size, y + size)), paint)


def foreground(dice: Dice, colours: list[Colour]) -> list[Shape]:
    """Something that hides a little of the object: grass, a leafy branch, a post or a stone."""
    front = Figure()
    kind = dice.choice(("grass", "branch", "post", "stone"))
    colour = dice.choice(colours) if dice.chance(0.3) else jitter(dice, dice.choice(EARTH + WOOD))
    paint = Paint(
        mix(colour, (0.1, 0.15, 0.15), 0.2),
        mix(colour, WHITE, 0.3),
        grain=0.5,
        coat=0.3 if dice.chance(0.3) else 0.0,
    )
    x = dice.uniform(0.1, 0.9)
    if kind == "grass":
        for k in range(10):
            root, tall = x + (k - 5) * 0.045, dice.uniform(0.14, 0.34)
            lean = dice.uniform(-0.08, 0.08)
            front.add(
                None,
                tube(
                    [(root, 1.05), (root + lean * 0.3, 1 - tall * 0.5), (root + lean, 1 - tall)],
                    [0.024, 0.02, 0.003],
                    steps=3,
                ),
                paint if k % 2 else paint.dimmed(0.85),
            )
    elif kind == "branch":
        y = dice.uniform(0.05, 0.95)
        end = (1 - x, y + dice.uniform(-0.2, 0.2))
        start = (-0.05 if x < 0.5 else 1.05, y)
        front.add(
            None,
            line(start, ((start[0] + end[0]) / 2, end[1]), 0.014),
            Paint(WOOD[1], WOOD[0], grain=0.5),
        )
        for k in range(6):
            share = 0.15 + 0.08 * k
            px, py = (
                start[0] + (end[0] - start[0]) * share,
                start[1] + (end[1] - start[1]) * share * 2,
            )
            front.add(
                None,
                ellipse(px, py + 0.04 * (-1) ** k, 0.07, 0.03, angle=0.7 * (-1) ** k, steps=16),
                paint,
            )
    elif kind == "post":
        wide = dice.uniform(0.025, 0.05)
        front.add(
            None,
            line((x, 1.1), (x + dice.uniform(-0.05, 0.05), dice.uniform(-0.1, 0.3)), wide),
            paint,
        )
    else:
        size = dice.uniform(0.12, 0.2)
        points = [
            (
                x + size * math.cos(0.9 * k) * dice.uniform(0.8, 1.2),
                1.0 + size * math.sin(0.9 * k) * dice.uniform(0.7, 1.2),
            )
            for k in range(7)
        ]
        front.add(None, smooth(*points), paint)
    return front.shapes
