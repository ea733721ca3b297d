"""Paints and palettes for each family of parts, so that similar parts look similar everywhere."""

from typing import NamedTuple

from rats_jax.procedural_parts.dice import Dice

Colour = tuple[float, float, float]


class Paint(NamedTuple):
    """How a shape is filled. Colours are sRGB in 0..1.

    coat, panel and grain are the amounts by which the image's three texture fields change the
    colour from `first` to `second`; volume is the range from light to dark across the shape.
    """

    first: Colour
    second: Colour
    coat: float = 0.0
    panel: float = 0.0
    grain: float = 0.0
    volume: float = 0.2

    def dimmed(self, factor: float) -> "Paint":
        """The same paint in shade, for example for a limb on the far side."""
        return self._replace(first=dim(self.first, factor), second=dim(self.second, factor))


def rgb(red: int, green: int, blue: int) -> Colour:
    return red / 255, green / 255, blue / 255


def mix(a: Colour, b: Colour, amount: float) -> Colour:
    return (
        a[0] + (b[0] - a[0]) * amount,
        a[1] + (b[1] - a[1]) * amount,
        a[2] + (b[2] - a[2]) * amount,
    )


def dim(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


WHITE, INK = rgb(246, 243, 236), rgb(42, 36, 44)
FUR = (
    rgb(207, 163, 110), rgb(146, 98, 64), rgb(233, 214, 178), rgb(146, 146, 152), rgb(84, 80, 88),
    rgb(238, 233, 224), rgb(192, 104, 58), rgb(224, 178, 92), rgb(108, 122, 146),
    rgb(176, 140, 124),
)  # fmt: skip
VIVID = (
    rgb(206, 68, 60), rgb(230, 134, 56), rgb(240, 198, 84), rgb(92, 158, 92), rgb(58, 146, 146),
    rgb(70, 116, 190), rgb(128, 94, 166), rgb(222, 132, 156), rgb(236, 232, 222), rgb(92, 98, 112),
)  # fmt: skip
SCALY = (
    rgb(112, 148, 74), rgb(74, 122, 92), rgb(160, 150, 84), rgb(176, 120, 66), rgb(92, 112, 120),
    rgb(64, 144, 128), rgb(196, 164, 92), rgb(128, 108, 86),
)  # fmt: skip
HORNY = (rgb(92, 68, 58), rgb(222, 158, 72), rgb(240, 214, 160), rgb(70, 62, 70), rgb(204, 120, 84))
EARTH = (rgb(120, 150, 84), rgb(150, 168, 96), rgb(182, 160, 112), rgb(206, 184, 138))


def jitter(dice: Dice, colour: Colour, amount: float = 0.06) -> Colour:
    """A similar colour: brightness and each channel are changed a little."""
    shift = dice.uniform(-amount, amount)
    moved = [c + shift + dice.uniform(-amount, amount) / 2 for c in colour]
    return min(max(moved[0], 0), 1), min(max(moved[1], 0), 1), min(max(moved[2], 0), 1)


def contrasting(dice: Dice, colour: Colour, palette: tuple[Colour, ...]) -> Colour:
    """Another colour of the palette: the more distant one of two draws."""
    draws = [dice.choice(palette), dice.choice(palette)]
    far = max(draws, key=lambda c: sum(abs(x - y) for x, y in zip(c, colour, strict=True)))
    return jitter(dice, far)


class AnimalPaints:
    """The paints of one animal.

    Body, head and tail have the same coat in some animals and differ in others. Feet, hands and
    beaks often have a colour of HORNY. So colour is a hint for the part but never determines it.
    """

    def __init__(self, dice: Dice, palette: tuple[Colour, ...]):
        coat = jitter(dice, dice.choice(palette))
        second = contrasting(dice, coat, palette)
        pattern = dice.uniform(0.45, 1.0) if dice.chance(0.6) else 0.0
        horn = jitter(dice, dice.choice(HORNY))
        self.body = Paint(coat, second, coat=pattern, grain=0.1)
        self.belly = self.body._replace(first=mix(coat, WHITE, 0.45), coat=0.0, volume=0.1)
        head = dice.random()
        if head < 0.35:
            self.head = self.body._replace(coat=pattern * dice.choice((0.0, 1.0)))
        elif head < 0.7:
            self.head = self.body._replace(first=mix(coat, WHITE, dice.uniform(0.2, 0.4)), coat=0.0)
        else:
            self.head = Paint(second, coat, coat=pattern * 0.3, grain=0.1)
        self.muzzle = self.head._replace(first=mix(self.head.first, WHITE, 0.5), coat=0.0)
        foot = horn if dice.chance(0.65) else mix(coat, INK, dice.uniform(0.1, 0.35))
        self.foot = Paint(foot, mix(foot, INK, 0.45), panel=0.12, grain=0.1)
        self.horn = Paint(horn, mix(horn, INK, 0.4), grain=0.15)
        tail = coat if dice.chance(0.5) else second
        self.tail = Paint(tail, second if tail is coat else coat, coat=pattern, grain=0.1)
        self.tip = Paint(mix(tail, dice.choice((WHITE, INK)), 0.7), tail, grain=0.1)
        wing = dice.choice((coat, second, mix(coat, INK, 0.35)))
        self.wing = Paint(wing, mix(wing, WHITE if dice.chance(0.5) else INK, 0.4), panel=0.8)
        self.fin = Paint(mix(wing, second, 0.5), mix(wing, WHITE, 0.5), panel=0.7, volume=0.1)


EYE_WHITE = Paint(WHITE, WHITE, volume=0.0)
PUPIL = Paint(INK, INK, volume=0.0)
GLINT = Paint((1.0, 1.0, 1.0), WHITE, volume=0.0)
RUBBER = Paint(rgb(52, 50, 56), rgb(84, 82, 88), grain=0.3, volume=0.12)
METAL = Paint(rgb(190, 194, 200), rgb(236, 238, 240), grain=0.3, volume=0.3)
LAMP = Paint(rgb(255, 240, 178), WHITE, volume=0.1)


class MachinePaints:
    """The paints of one vehicle or vessel."""

    def __init__(self, dice: Dice):
        body = jitter(dice, dice.choice(VIVID))
        second = contrasting(dice, body, VIVID)
        pattern = dice.uniform(0.4, 1.0) if dice.chance(0.3) else 0.0
        self.body = Paint(body, second, coat=pattern, grain=0.08, volume=0.28)
        self.trim = Paint(second, body, grain=0.08, volume=0.15)
        self.line = Paint(mix(body, INK, 0.55), body, volume=0.0)
        glass = mix(rgb(150, 196, 216), INK, dice.uniform(0.0, 0.6))
        self.glass = Paint(glass, mix(glass, WHITE, 0.6), grain=0.25, volume=0.25)
        other = dice.choice((body, body, second, jitter(dice, WHITE)))
        self.wing = Paint(other, mix(other, INK, 0.35), panel=0.45, volume=0.2)
        self.tail = Paint(dice.choice((body, second)), other, coat=pattern * 0.5, panel=0.2)
        self.engine = Paint(mix(METAL.first, dice.choice((second, INK)), 0.35), WHITE, grain=0.2)
        sail = dice.choice((WHITE, WHITE, second, mix(body, WHITE, 0.6)))
        self.sail = Paint(jitter(dice, sail, 0.03), second, panel=0.3 + 0.4 * dice.random())
        self.rim = Paint(
            dice.choice((METAL.first, METAL.first, mix(body, WHITE, 0.3))), WHITE, grain=0.2
        )
        seat = dice.choice((rgb(96, 62, 48), INK, rgb(150, 92, 60)))
        self.seat = Paint(seat, mix(seat, WHITE, 0.3), grain=0.3)
