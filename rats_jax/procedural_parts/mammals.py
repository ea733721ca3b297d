"""Quadruped and biped, each in its own frame, facing right."""

import math

from rats_jax.procedural_parts.anatomy import ape_head, leg, mammal_head, paw, swept, tail
from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure
from rats_jax.procedural_parts.paint import FUR, VIVID, AnimalPaints
from rats_jax.procedural_parts.shapes import arc, ellipse, smooth, tube


def quadruped(dice: Dice) -> Figure:
    figure, paints = Figure("quadruped"), AnimalPaints(dice, FUR if dice.chance(0.85) else VIVID)
    girth, height = dice.uniform(0.22, 0.31), dice.uniform(0.52, 0.76)
    thick = dice.uniform(0.085, 0.115)
    gait, stride = dice.uniform(0, 2 * math.pi), dice.uniform(0.02, 0.17)
    rise = dice.uniform(0.12, 0.5)
    head = (dice.uniform(0.58, 0.72), -rise)
    bends = (dice.uniform(-0.07, 0.02), dice.uniform(0.0, 0.07))
    legs = []
    for near in (0, 1):
        for x, bend, phase in ((-0.38, bends[0], 0.0), (0.36, bends[1], 2.0)):
            swing = stride * math.sin(gait + phase + math.pi * near)
            base = x + 0.08 * (1 - near)
            legs.append(((base, girth * 0.2), (base + swing, height - 0.05 * (1 - near)), bend))
    for hip, foot, bend in legs[:2]:
        leg(figure, paints.foot.dimmed(0.72), hip, foot, bend=bend, radius=thick)
    spine = swept(
        (-0.52, -0.08), dice.uniform(1.9, 3.9), dice.uniform(0.4, 0.75), dice.uniform(-1.2, 1.6)
    )
    tail(
        figure,
        dice,
        paints,
        spine,
        dice.uniform(0.11, 0.15),
        dice.choice(("bushy", "tufted", "taper")),
    )
    sag = dice.uniform(-0.03, 0.05)
    figure.add(
        "body",
        tube([(0.34, -0.02), (head[0] - 0.1, head[1] + 0.08)], [girth * 0.8, 0.13]),
        paints.body,
    )
    figure.add(
        "body",
        tube(
            [(-0.4, 0), (-0.1, sag), (0.15, sag), (0.36, 0.0)], [girth, girth * 0.9, girth, girth]
        ),
        paints.body,
    )
    if dice.chance(0.4):
        figure.add(
            "body", arc(0, girth * 0.45, 0.36, girth * 0.5, 0, math.pi), paints.belly, detail=True
        )
    for hip, foot, bend in legs[2:]:
        leg(figure, paints.foot, hip, foot, bend=bend, radius=thick)
    figure.add("body", ellipse(-0.37, 0.06, 0.19, girth * 0.85, angle=0.2), paints.body)
    figure.add("body", ellipse(0.34, 0.08, 0.16, girth * 0.75, angle=-0.15), paints.body)
    mammal_head(figure, dice, paints, head, dice.uniform(0.21, 0.29), dice.uniform(-0.2, 0.35))
    return figure


def biped(dice: Dice) -> Figure:
    figure, paints = Figure("biped"), AnimalPaints(dice, FUR if dice.chance(0.9) else VIVID)
    width, height = dice.uniform(0.2, 0.3), dice.uniform(0.3, 0.4)
    thick = dice.uniform(0.075, 0.1)
    lean = dice.uniform(-0.06, 0.1)
    neck, hip = (lean, -height), (0.0, height * 0.7)
    spine = swept(
        (-width * 0.6, hip[1]),
        dice.uniform(2.3, 3.2),
        dice.uniform(0.6, 0.95),
        dice.uniform(1.0, 3.6),
    )
    tail(
        figure,
        dice,
        paints,
        spine,
        dice.uniform(0.065, 0.095),
        dice.choice(("taper", "tufted", "bushy")),
    )

    def arm(side: float, near: bool):
        shoulder = (neck[0] + side * width * 0.8, neck[1] + 0.16)
        lift = dice.uniform(-2.3, 0.9)  # from raised to hanging
        length = dice.uniform(0.24, 0.3)
        out = math.cos(lift) * side * 0.8
        elbow = (shoulder[0] + length * (out + 0.35 * side), shoulder[1] + length * 0.7)
        palm = (elbow[0] + length * out, elbow[1] + length * math.sin(lift) * 1.1)
        body, hand = (p if near else p.dimmed(0.78) for p in (paints.body, paints.foot))
        figure.add("hand", tube([elbow, palm], [thick, thick * 0.75], steps=2), hand)
        paw(
            figure,
            "hand",
            hand,
            palm,
            thick * 1.55,
            math.atan2(palm[1] - elbow[1], palm[0] - elbow[0]),
        )
        figure.add("body", tube([shoulder, elbow], [thick * 1.25, thick * 1.05], steps=2), body)

    arm(1.0, False)
    spread = dice.uniform(0.1, 0.2)
    for side, near in ((1.0, False), (-1.0, True)):
        paint = paints.foot if near else paints.foot.dimmed(0.82)
        foot = (side * spread + 0.03, height + dice.uniform(0.32, 0.42))
        leg(
            figure,
            paint,
            (side * 0.11, hip[1]),
            foot,
            bend=dice.uniform(-0.02, 0.12),
            radius=thick * 1.15,
        )
    figure.add(
        "body",
        smooth(
            (neck[0], neck[1] - 0.05),
            (neck[0] + width * 0.85, neck[1] + 0.13),
            (width * 1.0, height * 0.35),
            (width * 0.55, height * 0.98),
            (-width * 0.65, height * 0.98),
            (-width * 1.05, height * 0.3),
            (neck[0] - width * 0.85, neck[1] + 0.13),
        ),
        paints.body,
    )
    if dice.chance(0.6):
        figure.add(
            "body",
            ellipse(0.04, height * 0.2, width * 0.6, height * 0.55),
            paints.belly,
            detail=True,
        )
    arm(-1.0, True)
    size = dice.uniform(0.2, 0.27)
    ape_head(
        figure,
        dice,
        paints,
        (neck[0] + 0.03, neck[1] - size * 0.75),
        size,
        dice.uniform(-0.2, 0.25),
    )
    return figure
