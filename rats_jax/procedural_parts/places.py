"""The places where objects are found: meadow, sky, shore, deep water, street, room, pattern."""

from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure
from rats_jax.procedural_parts.paint import (
    EARTH,
    VIVID,
    WHITE,
    Colour,
    Paint,
    jitter,
    mix,
    rgb,
)
from rats_jax.procedural_parts.shapes import curve, ellipse, line, polygon, tube

SKY = (
    rgb(168, 206, 232),
    rgb(214, 228, 236),
    rgb(248, 214, 180),
    rgb(126, 164, 210),
    rgb(222, 206, 226),
)
SEA = (rgb(70, 132, 168), rgb(92, 166, 176), rgb(54, 96, 142))
WALL = (
    rgb(226, 208, 180),
    rgb(176, 192, 188),
    rgb(214, 178, 164),
    rgb(150, 160, 182),
    rgb(200, 206, 168),
)
WOOD = (rgb(168, 118, 78), rgb(124, 86, 64), rgb(196, 154, 108))
FRAME = polygon((0, 0), (1, 0), (1, 1), (0, 1)) * 1.2 - 0.1


def _fill(scene: Figure, dice: Dice, palette: tuple[Colour, ...]) -> Colour:
    colour = jitter(dice, dice.choice(palette))
    scene.add(None, FRAME, Paint(colour, mix(colour, WHITE, 0.5), grain=0.8, volume=0.15))
    return colour


def _band(scene: Figure, dice: Dice, paint: Paint, level: float, swing: float):
    """Everything below a wavy line: hills, sea, ground."""
    n = 5
    top = [(k / (n - 1) * 1.2 - 0.1, level + dice.uniform(-swing, swing)) for k in range(n)]
    scene.add(None, polygon((-0.1, 1.2), *map(tuple, curve(top)), (1.1, 1.2)), paint)


def _meadow(scene: Figure, dice: Dice, ground: float):
    _fill(scene, dice, SKY)
    _clouds(scene, dice, dice.integer(0, 2), 0.3)
    base = dice.choice(EARTH)
    for k in range(3):
        colour = jitter(dice, mix(base, SKY[1], 0.5 - 0.22 * k))
        _band(
            scene,
            dice,
            Paint(colour, mix(colour, (0.1, 0.2, 0.1), 0.3), grain=0.6, volume=0.1),
            ground - 0.22 + 0.13 * k,
            0.07,
        )
        if k < 2:
            for _ in range(dice.integer(0, 3)):
                _tree(
                    scene,
                    dice,
                    dice.random(),
                    ground - 0.12 + 0.1 * k,
                    dice.uniform(0.05, 0.12),
                    mix(colour, (0.15, 0.3, 0.2), 0.4),
                )


def _tree(scene: Figure, dice: Dice, x: float, y: float, size: float, colour: Colour):
    scene.add(None, line((x, y), (x, y - size * 1.6), size * 0.16), Paint(WOOD[1], WOOD[0]))
    leaf = Paint(colour, mix(colour, WHITE, 0.3), grain=0.7)
    if dice.chance(0.4):
        for k in range(2):
            top = y - size * (3.2 - 0.8 * k)
            scene.add(
                None,
                polygon((x - size, top + size * 1.7), (x, top), (x + size, top + size * 1.7)),
                leaf,
            )
    else:
        scene.add(None, ellipse(x, y - size * 2.0, size, size * 1.1, steps=18), leaf)


def _clouds(scene: Figure, dice: Dice, count: int, reach: float):
    for _ in range(count):
        x, y, size = dice.random(), dice.uniform(0.03, reach), dice.uniform(0.05, 0.11)
        paint = Paint(mix(WHITE, SKY[0], dice.uniform(0, 0.3)), WHITE, grain=0.5, volume=0.08)
        for dx, dy, r in ((-1.0, 0.2, 0.7), (0.9, 0.25, 0.65), (0.0, 0.0, 1.0)):
            scene.add(
                None,
                ellipse(x + dx * size, y + dy * size, size * r * 1.2, size * r * 0.8, steps=18),
                paint,
            )


def _sky(scene: Figure, dice: Dice, ground: float):
    _fill(scene, dice, SKY)
    _clouds(scene, dice, dice.integer(3, 7), 0.95)
    if dice.chance(0.5):
        colour = dice.choice(EARTH)
        _band(
            scene,
            dice,
            Paint(colour, mix(colour, WHITE, 0.3), grain=0.8, coat=0.2),
            dice.uniform(0.8, 0.95),
            0.06,
        )


def _shore(scene: Figure, dice: Dice, ground: float):
    _fill(scene, dice, SKY)
    _clouds(scene, dice, dice.integer(1, 3), 0.35)
    colour = jitter(dice, dice.choice(SEA))
    if dice.chance(0.6):
        far = mix(dice.choice(EARTH), SKY[0], 0.4)
        _band(scene, dice, Paint(far, WHITE, grain=0.3), ground - 0.1, 0.06)
    for k in range(4):
        tone = mix(colour, WHITE, 0.25 - 0.07 * k)
        _band(
            scene,
            dice,
            Paint(tone, WHITE, panel=0.12, grain=0.25, volume=0.06),
            ground - 0.03 + 0.11 * k,
            0.018,
        )
    if dice.chance(0.35):
        _band(scene, dice, Paint(EARTH[3], EARTH[2], grain=0.8), 0.88, 0.05)


def _deep(scene: Figure, dice: Dice, ground: float):
    colour = _fill(scene, dice, SEA)
    for _ in range(dice.integer(1, 3)):
        x, wide = dice.random(), dice.uniform(0.04, 0.1)
        beam = Paint(mix(colour, WHITE, 0.18), WHITE, grain=0.2, volume=0.0)
        scene.add(
            None,
            polygon((x, -0.1), (x + wide, -0.1), (x + wide * 3 - 0.3, 1.1), (x - 0.3, 1.1)),
            beam,
            detail=True,
        )
    sand = jitter(dice, EARTH[3])
    _band(scene, dice, Paint(mix(sand, colour, 0.4), sand, grain=0.8), 0.86, 0.06)
    for _ in range(dice.integer(2, 5)):
        x, tall, sway = dice.random(), dice.uniform(0.2, 0.5), dice.uniform(-0.08, 0.08)
        weed = jitter(dice, dice.choice((EARTH[0], VIVID[0], VIVID[3], VIVID[6])))
        spine = [
            (x, 1.0),
            (x + sway, 1.0 - tall * 0.4),
            (x - sway, 1.0 - tall * 0.75),
            (x + sway, 1.0 - tall),
        ]
        scene.add(
            None,
            tube(spine, [0.03, 0.028, 0.02, 0.006]),
            Paint(weed, mix(weed, WHITE, 0.3), grain=0.4),
        )
    for _ in range(dice.integer(0, 6)):
        r = dice.uniform(0.008, 0.025)
        scene.add(
            None,
            ellipse(dice.random(), dice.random(), r, r, steps=14),
            Paint(mix(colour, WHITE, 0.5), WHITE),
        )


def _street(scene: Figure, dice: Dice, ground: float):
    _fill(scene, dice, SKY)
    x = -0.1
    while x < 1.0:
        wide, top = dice.uniform(0.16, 0.34), dice.uniform(0.0, 0.35)
        colour = jitter(dice, dice.choice(WALL + VIVID))
        paint = Paint(
            mix(colour, SKY[1], 0.25), mix(colour, WOOD[1], 0.3), panel=0.3, grain=0.2, volume=0.08
        )
        scene.add(None, polygon((x, 1.1), (x, top), (x + wide, top), (x + wide, 1.1)), paint)
        glass = mix(dice.choice(SKY), (0.2, 0.25, 0.35), dice.uniform(0, 0.8))
        for row in range(2):
            for column in range(2):
                left, up = x + wide * (0.15 + 0.42 * column), top + 0.06 + 0.16 * row
                scene.add(
                    None,
                    polygon(
                        (left, up),
                        (left + wide * 0.26, up),
                        (left + wide * 0.26, up + 0.09),
                        (left, up + 0.09),
                    ),
                    Paint(glass, WHITE, grain=0.5),
                    detail=True,
                )
        x += wide
    kerb = ground + dice.uniform(0.0, 0.1)
    road = jitter(dice, rgb(122, 120, 128))
    scene.add(
        None,
        polygon((-0.1, kerb), (1.1, kerb), (1.1, 1.1), (-0.1, 1.1)),
        Paint(mix(road, WHITE, 0.4), road, grain=0.4),
    )
    scene.add(
        None,
        polygon((-0.1, kerb + 0.05), (1.1, kerb + 0.05), (1.1, 1.1), (-0.1, 1.1)),
        Paint(road, (0.2, 0.2, 0.25), grain=0.6),
    )
    for k in range(3):
        left = 0.4 * k - 0.1 + 0.1 * ground
        scene.add(
            None,
            line((left, kerb + 0.22), (left + 0.2, kerb + 0.22), 0.012),
            Paint(WHITE, road, grain=0.4),
            detail=True,
        )


def _room(scene: Figure, dice: Dice, ground: float):
    wall = _fill(scene, dice, WALL)
    if dice.chance(0.5):
        scene.add(
            None,
            FRAME,
            Paint(wall, mix(wall, WHITE, 0.4), coat=dice.uniform(0.3, 0.9), volume=0.12),
        )
    for _ in range(dice.integer(1, 3)):
        x, y = dice.random(), dice.uniform(0.05, ground - 0.1)
        wide, tall = dice.uniform(0.06, 0.15), dice.uniform(0.07, 0.16)
        for grow, colour in (
            (1.2, dice.choice(WOOD)),
            (1.0, jitter(dice, dice.choice(VIVID + SKY))),
        ):
            w, h = wide * grow, tall * grow
            scene.add(
                None,
                polygon((x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)),
                Paint(colour, WHITE, grain=0.6),
            )
    wood = jitter(dice, dice.choice(WOOD))
    level = ground + dice.uniform(0.0, 0.12)
    scene.add(
        None,
        polygon((-0.1, level), (1.1, level), (1.1, 1.1), (-0.1, 1.1)),
        Paint(wood, mix(wood, (0.15, 0.1, 0.1), 0.5), panel=0.5, grain=0.5),
    )


def _clutter(scene: Figure, dice: Dice, ground: float):
    colour = _fill(scene, dice, VIVID + EARTH + SKY)
    scene.add(
        None,
        FRAME,
        Paint(colour, mix(colour, dice.choice(VIVID), 0.5), coat=dice.uniform(0.4, 1.0)),
    )


PLACES = {
    "meadow": _meadow, "sky": _sky, "shore": _shore, "deep": _deep, "street": _street,
    "room": _room, "clutter": _clutter,
}  # fmt: skip
"""Painters of a place: (scene, dice, level of the ground in 0..1 from the top)."""
