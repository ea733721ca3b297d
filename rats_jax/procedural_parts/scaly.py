"""Fish, snake and reptile, each in its own frame, facing right."""

import math

from rats_jax.procedural_parts.anatomy import eye, leg, mouth, swept, tail, wedge_head
from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure
from rats_jax.procedural_parts.paint import FUR, SCALY, VIVID, AnimalPaints
from rats_jax.procedural_parts.shapes import arc, ellipse, line, polygon, smooth, tube


def fish(dice: Dice) -> Figure:
    figure = Figure("fish")
    paints = AnimalPaints(dice, dice.choice((VIVID, VIVID, SCALY, FUR)))
    deep = dice.uniform(0.2, 0.36)
    sway = dice.uniform(-0.12, 0.12)
    # Tail: two lobes that meet at the stalk.
    spread, reach = dice.uniform(0.22, 0.34), dice.uniform(0.25, 0.38)
    fork = dice.uniform(0.1, 0.9)
    root = (-0.48, sway)
    figure.add(
        "tail",
        smooth(
            (root[0] + 0.08, root[1] - 0.05),
            (root[0] - reach * 0.6, root[1] - spread * 0.9),
            (root[0] - reach, root[1] - spread + sway * 0.5),
            (root[0] - reach * (1 - 0.6 * fork), root[1]),
            (root[0] - reach, root[1] + spread + sway * 0.5),
            (root[0] - reach * 0.6, root[1] + spread * 0.9),
            (root[0] + 0.08, root[1] + 0.05),
        ),
        paints.tail._replace(panel=0.7),
    )
    for k in (-2, -1, 1, 2):
        stop = (root[0] - reach * 0.7, root[1] + spread * 0.35 * k)
        figure.add("tail", line(root, stop, 0.008), paints.tip, detail=True)
    high = dice.uniform(0.12, 0.24)
    start = dice.uniform(0.1, 0.25)
    figure.add(
        "fin",
        smooth(
            (start, -deep * 0.8),
            (start - 0.18, -deep - high),
            (-0.3, -deep * 0.7 - high * 0.6),
            (-0.32, -deep * 0.4),
        ),
        paints.fin,
    )
    low = dice.uniform(0.1, 0.2)
    for x in (0.1, -0.22):
        figure.add(
            "fin",
            smooth(
                (x + 0.08, deep * 0.75),
                (x - 0.08, deep * 0.8 + low),
                (x - 0.2, deep * 0.6 + low),
                (x - 0.1, deep * 0.5),
            ),
            paints.fin,
        )
    body = [
        (0.62, 0.02),
        (0.42, -deep * 0.72),
        (0.08, -deep),
        (-0.25, -deep * 0.62),
        (-0.52, sway - 0.07),
    ]
    body += [(-0.52, sway + 0.07), (-0.25, deep * 0.62), (0.08, deep), (0.42, deep * 0.72)]
    figure.add("body", smooth(*body), paints.body._replace(panel=0.35 * dice.choice((0, 1))))
    gill = dice.uniform(0.22, 0.32)
    figure.add(
        "head",
        smooth(
            (0.64, 0.02), (0.54, -deep * 0.45), (0.42, -deep * 0.73), (gill + 0.02, -deep * 0.9),
            (gill - 0.08, 0.0), (gill + 0.02, deep * 0.9), (0.42, deep * 0.73), (0.54, deep * 0.45),
        ),
        paints.head,
    )  # fmt: skip
    joint = figure.joint("head", (0.46, -deep * 0.2), 0.2)
    eye(joint, 0, 0, 0.34)
    mouth(joint, [(0.85, deep + 0.25), (0.55, deep + 0.5), (0.3, deep + 0.45)], 0.05)
    tilt = dice.uniform(-0.3, 0.7)
    joint = figure.joint("fin", (gill - 0.12, deep * 0.25), dice.uniform(0.2, 0.28), math.pi - tilt)
    joint.add(smooth((-0.1, 0.0), (0.5, -0.4), (1.0, -0.25), (0.95, 0.3), (0.4, 0.35)), paints.fin)
    return figure


def snake(dice: Dice) -> Figure:
    figure = Figure("snake")
    paints = AnimalPaints(dice, dice.choice((SCALY, SCALY, VIVID, FUR)))
    thick = dice.uniform(0.085, 0.12)
    if dice.chance(0.5):  # a wave along the ground, head raised
        waves, swing = dice.uniform(1.2, 2.2), dice.uniform(0.14, 0.24)
        phase, n = dice.uniform(0, 6.3), 12
        spine = [
            (-0.8 + 1.3 * k / (n - 1), swing * math.sin(phase + 2 * math.pi * waves * k / (n - 1)))
            for k in range(n)
        ]
        x, y = spine[-1]
        spine += [(x + 0.14, y - 0.12), (x + 0.12, y - 0.32)]
        tilt = dice.uniform(-0.3, 0.3)
    else:  # a coil, seen from above
        turns, n, start = dice.uniform(1.1, 1.5), 14, dice.uniform(0, 6.3)
        spine = []
        for k in range(n):
            angle = start + 2 * math.pi * turns * k / (n - 1)
            radius = 0.2 + 0.36 * k / (n - 1)
            spine.append((radius * math.cos(angle), 0.85 * radius * math.sin(angle)))
        (x0, y0), (x1, y1) = spine[-2:]
        tilt = math.atan2(y1 - y0, x1 - x0)
    n = len(spine)
    radii = [thick * min(1.0, 0.15 + 2.2 * k / n) * (1 if k < n - 2 else 0.8) for k in range(n)]
    figure.add("body", tube(spine, radii, steps=6), paints.body)
    if dice.chance(0.7):
        inner = [r * dice.uniform(0.25, 0.45) for r in radii]
        figure.add("body", tube(spine, inner, steps=6), paints.tip, detail=True)
    wedge_head(figure, dice, paints, spine[-1], thick * dice.uniform(1.35, 1.7), tilt)
    return figure


def reptile(dice: Dice) -> Figure:
    figure = Figure("reptile")
    paints = AnimalPaints(dice, SCALY if dice.chance(0.8) else VIVID)
    shell = dice.chance(0.35)
    girth = dice.uniform(0.15, 0.21)
    thick = dice.uniform(0.075, 0.1)
    drop = girth + dice.uniform(0.1, 0.2)
    feet = [(x, x + dice.uniform(-0.14, 0.14)) for x in (-0.25, 0.33, -0.33, 0.25)]
    for hip, foot in feet[:2]:
        leg(
            figure, paints.foot.dimmed(0.72), (hip, 0), (foot, drop - 0.04), bend=0.07, radius=thick
        )
    length = dice.uniform(0.3, 0.45) if shell else dice.uniform(0.5, 0.75)
    spine = swept(
        (-0.36, 0.02), math.pi + dice.uniform(-0.3, 0.3), length, dice.uniform(-1.1, 1.1), 6
    )
    tail(figure, dice, paints, spine, girth * (0.8 if shell else 1.0), "taper")
    head = (0.58, dice.uniform(-0.24, 0.02))
    figure.add("body", tube([(0.3, 0.0), head], [girth * 0.75, girth * 0.6], steps=3), paints.belly)
    figure.add(
        "body",
        tube([(-0.36, 0.02), (0.0, 0.0), (0.36, 0.0)], [girth * 0.8, girth, girth * 0.85]),
        paints.body,
    )
    spikes = not shell and dice.chance(0.5)
    if spikes:
        for k in range(7):
            x = -0.34 + 0.11 * k
            figure.add(
                "body",
                polygon(
                    (x - 0.05, -girth * 0.75), (x - 0.02, -girth - 0.08), (x + 0.06, -girth * 0.75)
                ),
                paints.tip,
            )
    for hip, foot in feet[2:]:
        leg(figure, paints.foot, (hip, girth * 0.4), (foot, drop), bend=-0.07, radius=thick)
    if shell:
        tall = dice.uniform(0.3, 0.42)
        figure.add(
            "body",
            arc(0, girth * 0.6, 0.46, tall + girth, math.pi, 2 * math.pi),
            paints.wing._replace(panel=0.4),
        )
        for x in (-0.24, 0.0, 0.24):
            y = -tall * (0.62 if x else 0.72)
            figure.add(
                "body", ellipse(x, y + girth * 0.5, 0.1, 0.1, steps=6), paints.tip, detail=True
            )
        figure.add(
            "body",
            tube([(-0.46, girth * 0.55), (0.46, girth * 0.55)], [0.04, 0.04], steps=2),
            paints.tip,
        )
    wedge_head(
        figure,
        dice,
        paints,
        (head[0] + 0.06, head[1]),
        dice.uniform(0.16, 0.21),
        dice.uniform(-0.25, 0.25),
    )
    return figure
