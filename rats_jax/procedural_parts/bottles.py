"""The bottle, in its own frame, upright."""

from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure
from rats_jax.procedural_parts.paint import GLINT, LAMP, METAL, MachinePaints, Paint, mix
from rats_jax.procedural_parts.shapes import chamfered, ellipse, line, polygon, smooth, tube


def bottle(dice: Dice) -> Figure:
    figure, paints = Figure("bottle"), MachinePaints(dice)
    wide, tall = dice.uniform(0.17, 0.3), dice.uniform(0.5, 0.62)
    neck = wide * dice.uniform(0.32, 0.5)
    shoulder = dice.uniform(-0.12, 0.02)
    throat = shoulder - dice.uniform(0.12, 0.22)
    top = throat - dice.uniform(0.16, 0.28)
    glass = paints.body
    waist = wide * dice.uniform(0.82, 1.0)
    side = [
        (neck, throat - 0.01),
        (neck * 1.15, throat + 0.03),
        (wide, shoulder + 0.05),
        (waist, (shoulder + tall) / 2),
        (wide, tall - 0.06),
        (wide * 0.9, tall),
    ]
    outline = side + [(-x, y) for x, y in reversed(side)]
    figure.add("body", smooth(*outline, steps=4), glass)
    if dice.chance(0.5):
        level = dice.uniform(shoulder + 0.08, 0.3)
        drink = Paint(mix(glass.first, paints.trim.first, 0.65), glass.first, grain=0.2)
        figure.add(
            "body",
            polygon(
                (-waist * 0.9, level),
                (waist * 0.9, level),
                (wide * 0.86, tall - 0.03),
                (-wide * 0.86, tall - 0.03),
            ),
            drink,
            detail=True,
        )
    if dice.chance(0.7):
        y0, y1 = shoulder + dice.uniform(0.12, 0.2), tall - dice.uniform(0.1, 0.18)
        figure.add(
            "body",
            polygon((-waist, y0), (waist, y0), (waist, y1), (-waist, y1)),
            paints.sail,
            detail=True,
        )
        figure.add(
            "body",
            ellipse(0, (y0 + y1) / 2, waist * 0.5, (y1 - y0) * 0.3),
            paints.trim,
            detail=True,
        )
        figure.add(
            "body", line((-waist, y0 + 0.03), (waist, y0 + 0.03), 0.008), paints.line, detail=True
        )
    shine = GLINT._replace(first=mix(glass.first, (1, 1, 1), 0.6))
    figure.add(
        "body",
        tube(
            [(-wide * 0.7, shoulder + 0.1), (-waist * 0.72, tall - 0.15)], [0.018, 0.014], steps=2
        ),
        shine,
        detail=True,
    )
    spout = glass if dice.chance(0.5) else paints.trim
    figure.add(
        "mouth",
        polygon(
            (-neck * 1.02, throat + 0.02),
            (neck * 1.02, throat + 0.02),
            (neck * 0.92, top),
            (-neck * 0.92, top),
        ),
        spout,
    )
    cap = dice.choice((METAL, paints.trim, paints.seat, LAMP))
    lid = dice.uniform(0.06, 0.11)
    figure.add(
        "mouth",
        chamfered(
            (-neck * 1.2, top - lid),
            (neck * 1.2, top - lid),
            (neck * 1.2, top + 0.02),
            (-neck * 1.2, top + 0.02),
        ),
        cap,
    )
    figure.add(
        "mouth",
        line((-neck * 1.15, top + 0.0), (neck * 1.15, top + 0.0), 0.01),
        paints.line,
        detail=True,
    )
    return figure
