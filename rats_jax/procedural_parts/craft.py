"""Boat and aeroplane, each in its own frame, facing right."""

import math

from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure
from rats_jax.procedural_parts.paint import METAL, PUPIL, RUBBER, MachinePaints, Paint, mix
from rats_jax.procedural_parts.shapes import ellipse, line, polygon, smooth, tube


def boat(dice: Dice) -> Figure:
    figure, paints = Figure("boat"), MachinePaints(dice)
    deep, sheer = dice.uniform(0.18, 0.28), dice.uniform(0.02, 0.1)
    bow, stern = dice.uniform(0.08, 0.2), dice.uniform(0.02, 0.14)
    tall = dice.uniform(0.75, 1.0)
    mast = dice.uniform(-0.12, 0.12)
    figure.add(
        "body",
        line((mast, 0.05), (mast, -tall), 0.018),
        Paint(mix(METAL.first, (0.5, 0.3, 0.2), 0.6), METAL.first),
    )
    rig = dice.choice(("sloop", "sloop", "square", "twin"))
    belly = dice.uniform(0.0, 0.1)
    if rig == "square":
        for k in range(2):
            y, wide = -tall * (0.93 - 0.46 * k), dice.uniform(0.26, 0.36) * (1 + 0.25 * k)
            low = y + tall * 0.4
            figure.add(
                "sail",
                smooth(
                    (mast - wide * 0.8, y),
                    (mast, y + 0.02),
                    (mast + wide * 0.8, y),
                    (mast + wide + belly, low),
                    (mast, low - 0.05),
                    (mast - wide + belly, low),
                ),
                paints.sail,
            )
            figure.add(
                "sail",
                line((mast - wide * 0.85, y), (mast + wide * 0.85, y), 0.014),
                paints.seat,
                detail=True,
            )
    else:
        foot = -0.1
        reach = dice.uniform(0.36, 0.48)
        main = smooth(
            (mast - 0.03, -tall * 0.96),
            (mast - 0.03, foot * 1.2),
            (mast - reach, foot),
            (mast - reach * 0.55 - belly, -tall * 0.5),
            steps=6,
        )
        figure.add("sail", main, paints.sail)
        for k in range(2):
            y = -tall * (0.3 + 0.25 * k)
            figure.add(
                "sail",
                line((mast - 0.05, y), (mast - reach * (0.62 - 0.2 * k), y + 0.02), 0.007),
                paints.line,
                detail=True,
            )
        if rig == "twin" or dice.chance(0.75):
            jib = polygon(
                (mast + 0.04, -tall * 0.85),
                (mast + 0.05, foot),
                (0.52, foot + 0.03),
                (mast + 0.22 + belly, -tall * 0.42),
            )
            figure.add(
                "sail", jib, paints.sail if dice.chance(0.5) else paints.trim._replace(panel=0.3)
            )
        if dice.chance(0.5):
            figure.add(
                "sail",
                ellipse(mast - reach * 0.33, -tall * 0.42, 0.07, 0.07, steps=18),
                paints.trim,
                detail=True,
            )
    if dice.chance(0.5):
        figure.add(
            "body",
            polygon((mast, -tall), (mast - 0.14, -tall + 0.04), (mast, -tall + 0.08)),
            paints.trim,
        )
    if dice.chance(0.4):
        figure.add(
            "body",
            polygon((-0.35, 0.02), (-0.33, -0.12), (-0.08, -0.12), (-0.04, 0.02)),
            paints.wing,
        )
        figure.add("body", ellipse(-0.2, -0.05, 0.035, 0.035, steps=14), paints.glass, detail=True)
    hull = [
        (0.68, -bow),
        (0.6, deep * 0.3),
        (0.42, deep),
        (-0.42, deep),
        (-0.56, deep * 0.4),
        (-0.6, -stern),
        (-0.3, sheer),
        (0.25, sheer * 0.8),
    ]
    figure.add("body", smooth(*hull), paints.body)
    stripe = [
        (0.61, -bow * 0.3 + 0.05),
        (0.2, sheer + 0.05),
        (-0.25, sheer + 0.05),
        (-0.56, -stern * 0.2 + 0.05),
    ]
    figure.add("body", tube(stripe, [0.02] * 4), paints.trim, detail=True)
    if dice.chance(0.5):
        for x in (-0.3, -0.1, 0.1, 0.3):
            figure.add(
                "body",
                ellipse(x, deep * 0.6 + sheer * 0.3, 0.03, 0.03, steps=12),
                paints.glass,
                detail=True,
            )
    return figure


def aeroplane(dice: Dice) -> Figure:
    figure, paints = Figure("aeroplane"), MachinePaints(dice)
    girth = dice.uniform(0.12, 0.17)
    prop = dice.chance(0.35)
    swept_back, span = dice.uniform(0.1, 0.35), dice.uniform(0.38, 0.55)
    root = dice.uniform(0.22, 0.32)
    lift = dice.uniform(0.7, 1.0)
    if not prop:
        x, y = 0.12 - 0.5 * swept_back, -0.5 * span * lift * 0.8
        far = tube([(x - 0.1, y), (x + 0.1, y)], [0.055, 0.068], steps=2)
        figure.add("engine", far, paints.engine.dimmed(0.8))
    # The far wing and far stabiliser are behind the fuselage.
    figure.add(
        "wing",
        polygon(
            (0.12, -girth * 0.3),
            (0.12 - swept_back, -span * lift * 0.8),
            (0.0 - swept_back, -span * lift * 0.8),
            (0.12 - root, -girth * 0.3),
        ),
        paints.wing.dimmed(0.82),
    )
    fin = dice.uniform(0.24, 0.36)
    figure.add(
        "tail",
        polygon((-0.42, -girth * 0.2), (-0.5, -0.22), (-0.6, -0.22), (-0.58, -0.02)),
        paints.tail.dimmed(0.8),
    )
    figure.add(
        "tail",
        polygon(
            (-0.34, -girth * 0.5),
            (-0.58, -girth * 0.4 - fin),
            (-0.7, -girth * 0.4 - fin),
            (-0.66, 0.0),
        ),
        paints.tail,
    )
    figure.add(
        "tail",
        line((-0.56, -girth * 0.3 - fin * 0.55), (-0.64, -girth * 0.3 - fin * 0.55), 0.03),
        paints.trim,
        detail=True,
    )
    nose = dice.uniform(0.56, 0.64)
    figure.add(
        "body",
        tube(
            [(-0.68, -0.04), (-0.35, 0.0), (0.1, 0.0), (0.46, 0.0)],
            [0.035, girth * 0.9, girth, girth * 0.95],
        ),
        paints.body,
    )
    if dice.chance(0.6):
        figure.add("body", line((-0.5, 0.02), (0.42, 0.04), 0.02), paints.trim, detail=True)
    for k in range(7):
        x = -0.3 + 0.095 * k
        figure.add(
            "body", ellipse(x, -girth * 0.35, 0.022, 0.028, steps=10), paints.glass, detail=True
        )
    front = dice.choice((paints.body, paints.trim, paints.wing))
    cut = 0.38
    figure.add(
        "head",
        smooth(
            (cut - 0.02, -girth * 0.97),
            (cut + 0.12, -girth * 0.92),
            (nose - 0.02, -girth * 0.5),
            (nose + 0.06, 0.1 * girth),
            (nose - 0.03, girth * 0.7),
            (cut + 0.1, girth * 0.97),
            (cut - 0.02, girth * 0.97),
        ),
        front._replace(coat=0.0),
    )
    figure.add(
        "head",
        polygon(
            (nose - 0.13, -girth * 0.72),
            (nose - 0.04, -girth * 0.42),
            (nose - 0.01, -girth * 0.1),
            (nose - 0.12, -girth * 0.1),
        ),
        paints.glass,
        detail=True,
    )
    if prop:
        hub = (nose + 0.07, 0.02)
        figure.add("engine", ellipse(hub[0] - 0.03, hub[1], 0.07, girth * 0.75), paints.engine)
        blade = dice.uniform(0.2, 0.28)
        turned = dice.uniform(0, math.pi)
        for k in (0, 1):
            angle = turned + math.pi * k
            joint = figure.joint("engine", hub, blade, 0.0)
            tip = (0.25 * math.cos(angle), math.sin(angle))
            joint.add(tube([(0, 0), (tip[0] * 0.6, tip[1] * 0.6), tip], [0.1, 0.17, 0.1]), RUBBER)
        figure.add("engine", ellipse(hub[0] + 0.01, hub[1], 0.045, 0.045, steps=14), METAL)
    figure.add(
        "tail",
        polygon((-0.44, 0.0), (-0.66, 0.16 * lift), (-0.76, 0.16 * lift), (-0.64, 0.0)),
        paints.tail,
    )
    tip = (0.1 - swept_back, girth * 0.3 + span * lift)
    near = polygon(
        (0.2, girth * 0.25),
        (tip[0] + 0.02, tip[1]),
        (tip[0] - 0.13, tip[1]),
        (0.2 - root * 1.15, girth * 0.25),
    )
    for share in (0.45,) if dice.chance(0.7) or prop else (0.3, 0.62):
        if prop and dice.chance(0.5):
            break
        x, y = 0.2 + (tip[0] - 0.2) * share, girth * 0.25 + (tip[1] - girth * 0.25) * share
        joint = figure.joint("engine", (x, y + 0.04), 1.0)
        joint.add(tube([(-0.1, 0), (0.0, 0), (0.1, 0)], [0.05, 0.083, 0.085]), paints.engine)
        joint.add(ellipse(0.125, 0, 0.045, 0.076, steps=16), PUPIL, detail=True)
        joint.add(ellipse(0.13, 0, 0.015, 0.02, steps=8), METAL, detail=True)
    figure.add("wing", near, paints.wing)
    figure.add(
        "wing",
        line((tip[0], tip[1] - 0.03), (tip[0] - 0.12, tip[1] - 0.03), 0.025),
        paints.trim,
        detail=True,
    )
    figure.add(
        "wing",
        line((0.0, girth * 0.35), (tip[0] - 0.09, tip[1] - 0.05), 0.006),
        paints.line,
        detail=True,
    )
    return figure
