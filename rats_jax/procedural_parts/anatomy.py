"""The vocabulary that categories share: eyes, heads, legs with paws, tails, tires."""

import math

import numpy as np

from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.figure import Figure, Joint
from rats_jax.procedural_parts.paint import (
    EYE_WHITE,
    GLINT,
    LAMP,
    PUPIL,
    RUBBER,
    AnimalPaints,
    Paint,
)
from rats_jax.procedural_parts.shapes import (
    Point,
    curve,
    ellipse,
    line,
    polygon,
    ring,
    smooth,
    tube,
)


def eye(joint: Joint, x: float, y: float, radius: float):
    """An eye with a pupil that looks ahead; every head has one."""
    joint.add(ellipse(x, y, radius, radius, steps=16), EYE_WHITE, detail=True)
    pupil = 0.62 * radius
    joint.add(ellipse(x + 0.25 * radius, y, pupil, pupil, steps=12), PUPIL, detail=True)
    joint.add(
        ellipse(x + 0.1 * radius, y - 0.3 * radius, 0.25 * radius, 0.25 * radius, steps=8),
        GLINT,
        detail=True,
    )


def mouth(joint: Joint, points: list[Point], radius: float = 0.035):
    joint.add(tube(points, [radius] * len(points), steps=3), PUPIL, detail=True)


def mammal_head(
    figure: Figure, dice: Dice, paints: AnimalPaints, at: Point, size: float, tilt: float
):
    """Skull, muzzle with nose and mouth, ears of one of four kinds, sometimes horns."""
    joint = figure.joint("head", at, size, tilt)
    ears = dice.choice(("pointed", "floppy", "round", "tall"))
    reach = dice.uniform(1.15, 2.0)  # length of the muzzle
    if dice.chance(0.18):
        for lean in (0.0, 0.25):
            tip = (-0.5 + lean, -2.0)
            joint.add(
                tube([(-0.1, -0.7), (-0.55 + lean, -1.2), tip], [0.16, 0.11, 0.03]), paints.horn
            )
    _ear(joint, ears, -0.15, paints.head.dimmed(0.75))
    joint.add(ellipse(0, 0, 1.0, 0.92), paints.head)
    joint.add(
        smooth((0.2, -0.35), (reach * 0.7, -0.2), (reach, 0.12), (reach * 0.9, 0.5), (0.2, 0.8)),
        paints.muzzle if dice.chance(0.6) else paints.head,
    )
    joint.add(ellipse(reach * 0.98, 0.06, 0.2, 0.16, steps=14), PUPIL, detail=True)
    mouth(joint, [(reach * 0.9, 0.4), (reach * 0.6, 0.45), (0.5, 0.35)])
    _ear(joint, ears, -0.5, paints.head.dimmed(0.9))
    eye(joint, 0.32, -0.28, 0.24)


def _ear(joint: Joint, kind: str, x: float, paint: Paint):
    if kind == "pointed":
        joint.add(polygon((x - 0.3, -0.5), (x - 0.1, -1.5), (x + 0.45, -0.75)), paint)
    elif kind == "floppy":
        joint.add(ellipse(x - 0.15, 0.1, 0.32, 0.75, angle=0.15), paint)
    elif kind == "round":
        joint.add(ellipse(x, -0.85, 0.42, 0.42), paint)
    else:
        joint.add(ellipse(x - 0.1, -1.2, 0.22, 0.75, angle=-0.25), paint)


def ape_head(figure: Figure, dice: Dice, paints: AnimalPaints, at: Point, size: float, tilt: float):
    """Round skull, side ears, pale face with two eyes and a muzzle."""
    joint = figure.joint("head", at, size, tilt)
    for x in (-0.85, 0.95):
        joint.add(ellipse(x, -0.05, 0.36, 0.4), paints.head.dimmed(0.85))
        joint.add(ellipse(x, -0.05, 0.2, 0.24, steps=16), paints.muzzle, detail=True)
    joint.add(ellipse(0, 0, 1.0, 0.98), paints.head)
    face = paints.muzzle
    joint.add(
        smooth((-0.4, -0.5), (0.2, -0.62), (0.8, -0.5), (0.85, 0.1), (0.2, 0.75), (-0.45, 0.1)),
        face,
    )
    joint.add(ellipse(0.28, 0.42, 0.62, 0.42), face)
    joint.add(ellipse(0.34, 0.2, 0.16, 0.1, steps=14), PUPIL, detail=True)
    mouth(joint, [(-0.05, 0.5), (0.3, 0.62), (0.65, 0.5)])
    eye(joint, -0.05, -0.2, 0.2)
    eye(joint, 0.5, -0.2, 0.2)
    if dice.chance(0.3):
        joint.add(polygon((-0.5, -0.75), (0.0, -1.35), (0.35, -0.85)), paints.head)


def bird_head(
    figure: Figure, dice: Dice, paints: AnimalPaints, at: Point, size: float, tilt: float
):
    """Round skull, horny beak, sometimes a crest."""
    joint = figure.joint("head", at, size, tilt)
    reach = dice.uniform(1.6, 2.6)
    if dice.chance(0.35):
        for k in range(3):
            joint.add(
                ellipse(-0.5 - 0.12 * k, -0.85 + 0.2 * k, 0.2, 0.6, angle=-0.5 - 0.3 * k),
                paints.tip,
            )
    hook = dice.uniform(0.1, 0.5)
    joint.add(
        smooth((0.6, -0.4), (reach * 0.75, -0.15), (reach, hook), (0.6, 0.25), steps=4), paints.horn
    )
    joint.add(polygon((0.6, 0.1), (reach * 0.8, hook * 0.8), (0.6, 0.5)), paints.horn.dimmed(0.8))
    joint.add(ellipse(0, 0, 1.0, 0.95), paints.head)
    eye(joint, 0.35, -0.2, 0.27)


def wedge_head(
    figure: Figure, dice: Dice, paints: AnimalPaints, at: Point, size: float, tilt: float
):
    """The flat, wide-mouthed head of snakes and lizards."""
    joint = figure.joint("head", at, size, tilt)
    reach = dice.uniform(1.5, 2.3)
    if dice.chance(0.4):
        tongue = Paint((0.82, 0.2, 0.26), (0.6, 0.1, 0.2), volume=0.0)
        start = (reach * 0.9, 0.2)
        joint.add(
            tube([start, (reach + 0.4, 0.22), (reach + 0.8, 0.05)], [0.07, 0.06, 0.05]), tongue
        )
        joint.add(tube([(reach + 0.4, 0.22), (reach + 0.8, 0.4)], [0.06, 0.05]), tongue)
    outline = [(-1.0, -0.5), (-0.1, -0.85), (reach * 0.65, -0.42), (reach, 0.05)]
    outline += [(reach * 0.8, 0.45), (0.0, 0.72), (-1.0, 0.5)]
    joint.add(smooth(*outline), paints.head)
    mouth(joint, [(reach * 0.95, 0.15), (reach * 0.55, 0.28), (-0.2, 0.3)], 0.05)
    joint.add(ellipse(reach * 0.85, -0.1, 0.07, 0.06, steps=8), PUPIL, detail=True)
    eye(joint, 0.25, -0.38, 0.29)


def paw(figure: Figure, part: str, paint: Paint, at: Point, size: float, angle: float = 0.0):
    """A rounded pad with three toes: feet and hands of every animal."""
    joint = figure.joint(part, at, size, angle)
    joint.add(smooth((-0.7, -0.5), (0.3, -0.55), (1.1, 0.0), (1.0, 0.45), (-0.6, 0.45)), paint)
    toe = Paint(paint.second, paint.second, volume=0.0)
    for x in (0.35, 0.7):
        joint.add(line((x, 0.42), (x + 0.05, 0.02), 0.06), toe, detail=True)


def leg(figure: Figure, paint: Paint, hip: Point, foot: Point, *, bend: float, radius: float):
    """A limb from hip to ground that ends in a paw; all of it is the part "foot"."""
    middle = ((hip[0] + foot[0]) / 2 + bend, (hip[1] + foot[1]) / 2)
    ankle = (foot[0], foot[1] - radius * 0.5)
    figure.add("foot", tube([hip, middle, ankle], [radius * 1.35, radius, radius * 0.8]), paint)
    paw(figure, "foot", paint, (foot[0] + radius * 0.3, foot[1]), radius * 1.45)


def swept(base: Point, angle: float, length: float, curl: float, count: int = 5) -> list[Point]:
    """Points of a curve that leaves `base` at an angle and turns by `curl` radians in total."""
    points, step = [base], length / (count - 1)
    for k in range(count - 1):
        heading = angle + curl * k / (count - 1)
        x, y = points[-1]
        points.append((x + step * math.cos(heading), y + step * math.sin(heading)))
    return points


def tail(
    figure: Figure, dice: Dice, paints: AnimalPaints, spine: list[Point], radius: float, kind: str
):
    """A tail along a curve, with a tuft, rings, or a tip of another colour."""
    n = len(spine)
    if kind == "bushy":
        radii = [
            radius * (0.5 + 1.1 * math.sin(math.pi * (0.1 + 0.8 * k / (n - 1)))) for k in range(n)
        ]
    elif kind == "tufted":
        radii = [radius * 0.55] * n
    else:
        radii = [radius * (1 - 0.8 * k / (n - 1)) for k in range(n)]
    figure.add("tail", tube(spine, radii), paints.tail)
    if kind == "tufted":
        (x0, y0), (x1, y1) = spine[-2:]
        angle = math.atan2(y1 - y0, x1 - x0)
        figure.add("tail", ellipse(x1, y1, radius * 1.7, radius * 1.0, angle=angle), paints.tip)
        return
    centre, fine = curve(spine), np.interp(np.linspace(0, n - 1, (n - 1) * 5 + 1), range(n), radii)
    if dice.chance(0.5):
        last = len(centre) * 2 // 3
        tip = [tuple(p) for p in centre[last::3]]
        if len(tip) > 1:
            figure.add("tail", tube(tip, fine[last::3] * 0.99, steps=3), paints.tip, detail=True)
    else:
        for k in range(4, len(centre) - 2, 5):
            band = [tuple(p) for p in centre[k : k + 2]]
            along = centre[k + 1] - centre[k]
            across = np.array([-along[1], along[0]]) / (np.hypot(*along) + 1e-9) * fine[k] * 0.96
            quad = np.array(
                [band[0] - across, band[0] + across, band[1] + across, band[1] - across]
            )
            figure.add("tail", quad, paints.tip, detail=True)


def tire(
    figure: Figure,
    dice: Dice,
    rim: Paint,
    at: Point,
    radius: float,
    *,
    open_spokes: bool,
    turned: float,
):
    """A dark ring with rim and spokes. With open spokes the background shows between them."""
    joint = figure.joint("tire", at, radius, turned)
    spokes = 5 + 2 * dice.integer(0, 1)
    if open_spokes:
        joint.add(ring(0, 0, 0.84, 0.72), rim)
        for k in range(spokes):
            angle = 2 * math.pi * k / spokes
            joint.add(line((0, 0), (0.78 * math.cos(angle), 0.78 * math.sin(angle)), 0.035), rim)
        joint.add(ring(0, 0, 1.0, 0.8), RUBBER)
        joint.add(ellipse(0, 0, 0.13, 0.13, steps=14), rim)
        return
    joint.add(ellipse(0, 0, 1.0, 1.0, steps=36), RUBBER)
    joint.add(ellipse(0, 0, 0.62, 0.62), rim)
    for k in range(spokes):
        angle = 2 * math.pi * (k + 0.5) / spokes
        joint.add(
            ellipse(
                0.38 * math.cos(angle), 0.38 * math.sin(angle), 0.14, 0.1, angle=angle, steps=12
            ),
            RUBBER,
            detail=True,
        )
    joint.add(ellipse(0, 0, 0.15, 0.15, steps=14), rim)


def lamp(joint: Joint, x: float, y: float, radius: float):
    """A headlight."""
    joint.add(ellipse(x, y, radius, radius, steps=16), LAMP)
    joint.add(ellipse(x, y, radius * 0.5, radius * 0.5, steps=12), GLINT, detail=True)
