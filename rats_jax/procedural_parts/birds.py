"""The bird, in its own frame, facing right."""

import math

from rats_jax.procedural_parts.anatomy import bird_head, paw
from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure
from rats_jax.procedural_parts.paint import FUR, VIVID, AnimalPaints
from rats_jax.procedural_parts.shapes import ellipse, smooth, tube


def bird(dice: Dice) -> Figure:
    figure = Figure("bird")
    paints = AnimalPaints(dice, dice.choice((FUR, VIVID, VIVID)))
    length, girth = dice.uniform(0.38, 0.46), dice.uniform(0.22, 0.3)
    pitch = dice.uniform(-0.5, 0.05)
    wader, flying = dice.chance(0.3), dice.chance(0.4)
    neck = dice.uniform(0.2, 0.42) if wader else 0.06
    chest = (length * 0.75 * math.cos(pitch), length * 0.75 * math.sin(pitch))
    rump = (-length * 0.8 * math.cos(pitch), -length * 0.8 * math.sin(pitch))
    head = (chest[0] + 0.1 + neck * 0.2, chest[1] - 0.14 - neck)
    raised = dice.uniform(-1.0, -0.35)
    if flying:
        open_wing(figure, paints, (0.05, -0.08), raised + 0.55, 0.72)
    drop = dice.uniform(0.28, 0.38) + (0.2 if wader else 0)
    for near in (0, 1):
        paint = paints.horn if near else paints.horn.dimmed(0.75)
        x = -0.06 + 0.13 * near
        foot = (
            x + dice.uniform(-0.05, 0.06) - (0.2 if flying else 0),
            girth + drop * (0.7 if flying else 1),
        )
        figure.add("foot", tube([(x, girth * 0.6), foot], [0.055, 0.038], steps=2), paint)
        paw(figure, "foot", paint, foot, 0.105)
    feathers = dice.integer(3, 5)
    fan, reach = dice.uniform(0.1, 0.28), dice.uniform(0.34, 0.55)
    for k in range(feathers):
        angle = math.pi + pitch * 0.8 + fan * (k - (feathers - 1) / 2)
        tip = (rump[0] + reach * math.cos(angle), rump[1] + reach * math.sin(angle))
        paint = paints.tail if k % 2 else paints.tail.dimmed(0.85)
        figure.add("tail", tube([rump, tip], [0.06, 0.075], steps=3), paint)
        figure.add(
            "tail",
            ellipse(tip[0], tip[1], 0.075, 0.06, angle=angle, steps=16),
            paints.tip,
            detail=True,
        )
    figure.add("body", tube([chest, head], [girth * 0.5, 0.1], steps=3), paints.body)
    figure.add("body", ellipse(0, 0, length, girth, angle=pitch), paints.body)
    figure.add(
        "body",
        ellipse(0.1, girth * 0.3, length * 0.62, girth * 0.55, angle=pitch),
        paints.belly,
        detail=True,
    )
    if flying:
        open_wing(figure, paints, (0.0, -0.02), raised, 0.85)
    else:
        _folded_wing(figure, paints, (0.12, -0.03), math.pi + pitch - 0.15, length * 1.45)
    bird_head(figure, dice, paints, head, dice.uniform(0.18, 0.24), dice.uniform(-0.15, 0.25))
    return figure


def _folded_wing(
    figure: Figure, paints: AnimalPaints, at: tuple[float, float], angle: float, size: float
):
    joint = figure.joint("wing", at, size, angle)
    joint.add(
        smooth((-0.12, 0.0), (0.1, 0.2), (0.55, 0.2), (1.0, -0.02), (0.5, -0.2), (0.1, -0.22)),
        paints.wing,
    )
    for k in range(3):
        start = 0.3 + 0.12 * k
        joint.add(
            tube(
                [(start, 0.12 - 0.1 * k), (start + 0.35, 0.05 - 0.05 * k)], [0.02, 0.008], steps=2
            ),
            paints.wing.dimmed(0.7),
            detail=True,
        )


def open_wing(
    figure: Figure, paints: AnimalPaints, at: tuple[float, float], angle: float, size: float
):
    """A raised wing: a shoulder with a fan of long feathers."""
    joint = figure.joint("wing", at, size, angle - math.pi / 2)
    for k in range(6):
        lean = -0.25 - 0.2 * k
        base, tip = 0.55 - 0.1 * k, 1.0 - 0.09 * k
        x, y = tip * math.cos(lean), tip * math.sin(lean)
        paint = paints.wing if k % 2 else paints.wing.dimmed(0.86)
        joint.add(tube([(base * 0.6, -0.02 * k), (x, y)], [0.1, 0.07], steps=3), paint)
    joint.add(tube([(-0.02, -0.02), (0.35, 0.0), (0.75, -0.12)], [0.15, 0.13, 0.05]), paints.wing)
