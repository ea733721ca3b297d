"""Makes the picture from the canvas's layers with light, textures and ink."""

import math

import numpy as np
from PIL import Image, ImageFilter

from rats_jax.procedural_parts.canvas import GRADIENT, Layers
from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.textures import COATS, PANELS, Texture


class Style:
    """The style of one image: direction of the light, textures, amount of ink."""

    def __init__(self, dice: Dice):
        angle = dice.uniform(0.1, math.pi - 0.1)
        self.light = (math.cos(angle), -math.sin(angle))  # towards the light, always from above
        self.coat = Texture(dice, dice.choice(COATS), extent=(0.45, 1.0))
        self.panel = Texture(dice, dice.choice(PANELS), extent=(0.4, 0.9))
        self.grain = Texture(dice, "cloud", extent=(0.4, 1.0))
        self.relief = dice.uniform(0.3, 0.9)
        self.ink = dice.uniform(0.0, 0.55)
        fall = dice.uniform(0, 2 * math.pi)
        strength = dice.uniform(0.0, 0.4)
        self.falloff = (strength * math.cos(fall), strength * math.sin(fall))
        warmth, self.exposure = dice.uniform(-0.06, 0.08), dice.uniform(0.86, 1.1)
        self.tint = (1 + warmth, 1.0, 1 - warmth)


def shade(layers: Layers, style: Style) -> np.ndarray:
    """uint8 [size, size, 3]. All lengths are in frame units, so all sizes show the same picture."""
    size = len(layers.channels)
    height = layers.channels[..., 9]
    channels = np.moveaxis(layers.channels, -1, 0).astype(np.float32) * np.float32(1 / 255)
    amount = channels[6] * style.coat.sample(size)
    amount += channels[7] * style.panel.sample(size)
    amount += channels[8] * style.grain.sample(size)
    np.clip(amount, 0, 1, out=amount)

    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    along = style.light[0] * axis + style.light[1] * axis[:, None]
    light = channels[10] * along
    light += channels[11]
    light -= 0.5
    light *= GRADIENT
    np.clip(light, -0.3, 0.3, out=light)
    light += style.falloff[0] * axis + style.falloff[1] * axis[:, None]

    blurred = Image.fromarray(height).filter(ImageFilter.GaussianBlur(0.011 * size))
    down, across = np.gradient(np.asarray(blurred).astype(np.float32) * np.float32(size / 255))
    solid = np.clip(channels[9] * 2, 0.25, 1)
    relief = -(across * style.light[0] + down * style.light[1]) * solid
    light += np.clip(relief * np.float32(0.022 * style.relief), -0.35, 0.3)
    light -= np.minimum(np.hypot(across, down) * 0.03, 1) * (solid * np.float32(style.ink))
    light += 1
    light *= style.exposure
    np.clip(light, 0.35, 1.25, out=light)

    rgb = np.empty((size, size, 3), np.uint8)
    for c in range(3):
        colour = channels[c] + (channels[c + 3] - channels[c]) * amount
        colour *= light * np.float32(255 * style.tint[c])
        rgb[..., c] = np.clip(colour, 0, 255)
    return rgb
