"""Car and bicycle, each in its own frame, facing right."""

from rats_jax.procedural_parts.anatomy import lamp, tire
from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure
from rats_jax.procedural_parts.paint import METAL, RUBBER, MachinePaints, Paint
from rats_jax.procedural_parts.shapes import chamfered, ellipse, line, polygon, smooth, tube


def car(dice: Dice) -> Figure:
    figure, paints = Figure("car"), MachinePaints(dice)
    kind = dice.choice(("sedan", "hatch", "van", "pickup", "beetle"))
    roof = {"sedan": 0.3, "hatch": 0.33, "van": 0.42, "pickup": 0.36, "beetle": 0.38}[kind]
    roof *= dice.uniform(0.9, 1.15)
    deck = dice.uniform(-0.02, 0.03)  # height of bonnet and boot
    cowl = dice.uniform(0.18, 0.3)  # foot of the windscreen
    radius = dice.uniform(0.125, 0.16)
    sill = 0.17
    back = {"sedan": -0.32, "hatch": -0.48, "van": -0.58, "pickup": -0.2, "beetle": -0.5}[kind]
    rear = {"sedan": -0.46, "hatch": -0.6, "van": -0.6, "pickup": -0.24, "beetle": -0.6}[kind]
    front = cowl - dice.uniform(0.1, 0.2)
    cabin = [(rear, deck), (back, -roof), (front, -roof), (cowl, deck)]
    lower = [
        (-0.63, deck),
        (cowl, deck - 0.02),
        (0.56, deck + 0.05),
        (0.64, 0.1),
        (0.63, sill),
        (-0.63, sill),
    ]
    if kind == "beetle":
        figure.add(
            "body",
            smooth(
                (rear, 0.05),
                (-0.35, -roof * 0.8),
                (-0.1, -roof),
                (0.15, -roof * 0.8),
                (cowl + 0.1, 0.05),
            ),
            paints.body,
        )
        figure.add(
            "body",
            smooth(
                (-0.64, 0.1),
                (-0.5, -0.08),
                (0.3, -0.06),
                (0.58, 0.02),
                (0.64, 0.15),
                (0, sill + 0.02),
                (-0.6, sill),
            ),
            paints.body,
        )
    else:
        figure.add("body", polygon(*cabin), paints.trim if dice.chance(0.3) else paints.body)
        figure.add("body", chamfered(*lower), paints.body)
    inset = 0.05
    window_top, window_low = -roof + inset, deck - 0.02
    slope_back = (back - rear) * 0.8
    left = max(rear + slope_back * 0.4, rear + 0.06) if kind != "beetle" else -0.38
    right = cowl - 0.06
    top_left, top_right = (back + 0.05, front - 0.02) if kind != "beetle" else (-0.26, 0.06)
    middle = (top_left + top_right) / 2
    figure.add(
        "body",
        polygon(
            (left, window_low),
            (top_left, window_top),
            (middle - 0.02, window_top),
            (middle - 0.02, window_low),
        ),
        paints.glass,
        detail=True,
    )
    figure.add(
        "body",
        polygon(
            (middle + 0.02, window_low),
            (middle + 0.02, window_top),
            (top_right, window_top),
            (right, window_low),
        ),
        paints.glass,
        detail=True,
    )
    figure.add("body", line((middle, deck), (middle, sill - 0.03), 0.006), paints.line, detail=True)
    figure.add(
        "body",
        line((middle - 0.12, deck + 0.05), (middle - 0.05, deck + 0.05), 0.01),
        METAL,
        detail=True,
    )
    figure.add(
        "body", line((-0.62, sill - 0.02), (0.62, sill - 0.02), 0.022), paints.line, detail=True
    )
    if dice.chance(0.4):
        figure.add(
            "body", line((-0.6, deck + 0.08), (0.58, deck + 0.09), 0.018), paints.trim, detail=True
        )
    lamp(figure.joint("body", (0.585, deck + 0.1)), 0, 0, 0.038)
    figure.add(
        "body",
        ellipse(-0.6, deck + 0.09, 0.025, 0.035, steps=14),
        Paint((0.85, 0.2, 0.2), (1, 0.5, 0.4)),
        detail=True,
    )
    for x in (-0.38, 0.37):
        figure.add("body", ellipse(x, sill, radius * 1.18, radius * 1.18), paints.line, detail=True)
        tire(
            figure,
            dice,
            paints.rim,
            (x, sill + 0.02),
            radius,
            open_spokes=False,
            turned=dice.uniform(0, 6),
        )
    at = (right - 0.02, window_low - 0.01)
    size = dice.uniform(0.105, 0.135)
    joint = figure.joint("side mirror", at, size, dice.uniform(-0.15, 0.15))
    joint.add(line((0.0, 0.5), (0.2, 0.0), 0.16), paints.line)
    shell = dice.choice((paints.trim, paints.body, METAL))
    joint.add(smooth((-0.5, -0.5), (0.6, -0.55), (0.85, 0.0), (0.6, 0.4), (-0.5, 0.4)), shell)
    joint.add(ellipse(-0.25, -0.06, 0.22, 0.33, steps=14), paints.glass, detail=True)
    return figure


def bicycle(dice: Dice) -> Figure:
    figure, paints = Figure("bicycle"), MachinePaints(dice)
    motor = dice.chance(0.35)
    radius = dice.uniform(0.2, 0.26) if motor else dice.uniform(0.27, 0.33)
    back, front = (-0.42, 0.3), (0.44, 0.3)
    pipe = dice.uniform(0.028, 0.04) * (1.4 if motor else 1)
    spokes = not motor and dice.chance(0.8)
    for at in (back, front):
        tire(figure, dice, paints.rim, at, radius, open_spokes=spokes, turned=dice.uniform(0, 6))
    crank = (-0.03, 0.3)
    saddle = (-0.2, dice.uniform(-0.22, -0.14))
    stem = (0.3, dice.uniform(-0.24, -0.14))
    paint = paints.body
    figure.add("body", line(front, (stem[0] - 0.02, stem[1]), pipe * 0.9), paint.dimmed(0.9))
    if motor:
        figure.add(
            "body",
            smooth(
                (-0.5, 0.02),
                (-0.2, -0.08),
                (0.1, -0.12),
                (0.3, -0.12),
                (0.2, 0.1),
                (0.12, 0.32),
                (-0.2, 0.34),
                (-0.35, 0.12),
            ),
            paint,
        )
        figure.add("body", ellipse(0.0, 0.24, 0.13, 0.1), METAL)
        figure.add(
            "body", tube([(0.0, 0.33), (-0.3, 0.36), (-0.55, 0.3)], [0.03, 0.035, 0.04]), METAL
        )
        figure.add("body", ellipse(0.12, -0.02, 0.1, 0.06, angle=-0.2), paints.trim, detail=True)
    else:
        for start, stop in (
            (back, crank),
            (back, saddle),
            (crank, saddle),
            (saddle, stem),
            (crank, (stem[0] + 0.02, stem[1] + 0.06)),
        ):
            figure.add(
                "body",
                line(
                    (start[0], start[1] + (0.04 if start is saddle else 0)),
                    (stop[0], stop[1] + (0.04 if stop is stem else 0)),
                    pipe,
                ),
                paint,
            )
        figure.add("body", ellipse(crank[0], crank[1], 0.075, 0.075, steps=18), METAL)
        figure.add("body", line(crank, (crank[0] + 0.1, crank[1] + 0.12), 0.018), RUBBER)
        figure.add(
            "body",
            line((crank[0] + 0.05, crank[1] + 0.125), (crank[0] + 0.16, crank[1] + 0.125), 0.022),
            RUBBER,
        )
    joint = figure.joint(
        "seat",
        (saddle[0] - (0.06 if motor else 0), saddle[1] + (0.06 if motor else -0.02)),
        0.28 if motor else 0.23,
    )
    joint.add(
        smooth(
            (-0.8, -0.25),
            (-0.3, -0.22),
            (0.8, -0.12),
            (0.75, 0.08),
            (0.1, 0.12),
            (-0.5, 0.35),
            (-0.95, 0.2),
        ),
        paints.seat,
    )
    rise = dice.uniform(0.08, 0.16)
    top = (stem[0] - 0.03, stem[1] - rise)
    figure.add("head", line((stem[0], stem[1] + 0.07), top, pipe * 1.1), METAL)
    sweep = dice.uniform(-0.14, 0.16)
    grip = (top[0] + sweep, top[1] - 0.02)
    figure.add(
        "head", tube([(top[0] + 0.08, top[1] + 0.03), top, grip], [0.03, 0.03, 0.035]), METAL
    )
    figure.add(
        "head",
        tube(
            [
                ((top[0] + grip[0]) / 2, (top[1] + grip[1]) / 2),
                grip,
                (grip[0] + sweep * 0.4, grip[1] + 0.02),
            ],
            [0.042] * 3,
        ),
        paints.seat,
    )
    joint = figure.joint("head", (stem[0] + 0.1, stem[1] - 0.02))
    joint.add(ellipse(0, 0, 0.1, 0.09), paints.trim)
    lamp(joint, 0.045, 0, 0.06)
    return figure
