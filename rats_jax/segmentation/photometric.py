"""Photometric distortion of uint8 images on the host, as MMSegmentation's PhotoMetricDistortion."""

from collections.abc import Callable

import numpy as np
from PIL import Image

BRIGHTNESS = 32  # levels
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 18 / 180  # of a turn

Table = np.ndarray  # uint8 [256]: a new value for each


def distort(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [h, w, 3] from the same: brightness, contrast, saturation and hue, each with
    probability 1/2, contrast before or after the last two.

    Saturation and hue are changed together, in HSV of 8 bits, where hue has 256 steps (180 in
    OpenCV).
    """
    brightness = _maybe(rng, lambda: rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast_first = rng.random() < 0.5
    contrast = _maybe(rng, lambda: rng.uniform(*CONTRAST))
    saturation = _maybe(rng, lambda: rng.uniform(*SATURATION))
    hue = _maybe(rng, lambda: rng.uniform(-HUE, HUE))
    image = Image.fromarray(pixels)
    before = [linear(1, brightness)] if brightness is not None else []
    after = [linear(contrast, 0)] if contrast is not None else []
    if contrast_first:
        before, after = before + after, []
    image = _mapped(image, before)
    if saturation is not None or hue is not None:
        image = change_colours(image, 1 if saturation is None else saturation, hue or 0)
    return np.asarray(_mapped(image, after))


def change_colours(image: Image.Image, saturation: float, hue: float) -> Image.Image:
    """Multiplies the saturation, and turns the hue by a share of a turn."""
    turned = (np.arange(256) + round(hue * 256)).astype(np.uint8)
    tables = np.concatenate([turned, linear(saturation, 0), np.arange(256, dtype=np.uint8)])
    return image.convert("HSV").point(tables.tolist()).convert("RGB")


def linear(factor: float, offset: float) -> Table:
    """x -> factor x + offset, limited to 0 to 255; fractions are dropped, as in MMSegmentation."""
    values = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    return values.clip(0, 255).astype(np.uint8)


def _mapped(image: Image.Image, tables: list[Table]) -> Image.Image:
    if not tables:
        return image
    table = tables[0]
    for following in tables[1:]:
        table = following[table]
    return image.point(table.tolist() * 3)


def _maybe(rng: np.random.Generator, draw: Callable[[], float]) -> float | None:
    """A number, or None with probability 1/2."""
    return draw() if rng.random() < 0.5 else None
