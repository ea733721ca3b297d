"""Photometric distortion of uint8 images on the host, as MMSegmentation's PhotoMetricDistortion."""

from collections.abc import Callable

import numpy as np

BRIGHTNESS = 32  # levels
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 18 / 180  # of a turn

_AT_ONCE = 2**14  # pixels, whose arrays fit into the cache
_PURE = (0, 2, 4)  # the hues of red, green and blue, in sixths of a turn

Table = np.ndarray  # uint8 [256]: a new value for each


def distort(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [h, w, 3] from the same: brightness, contrast, saturation and hue, each with
    probability 1/2, contrast before or after the last two.

    Saturation and hue are changed together and rounded once, where MMSegmentation rounds each, and
    HSV as well.
    """
    brightness = _maybe(rng, lambda: rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast_first = rng.random() < 0.5
    contrast = _maybe(rng, lambda: rng.uniform(*CONTRAST))
    saturation = _maybe(rng, lambda: rng.uniform(*SATURATION))
    hue = _maybe(rng, lambda: rng.uniform(-HUE, HUE))
    before = [linear(1, brightness)] if brightness is not None else []
    after = [linear(contrast, 0)] if contrast is not None else []
    if contrast_first:
        before, after = before + after, []
    pixels = _mapped(pixels, before)
    if saturation is not None or hue is not None:
        pixels = change_colours(pixels, 1 if saturation is None else saturation, hue or 0)
    return _mapped(pixels, after)


def change_colours(pixels: np.ndarray, saturation: float, hue: float) -> np.ndarray:
    """uint8 [h, w, 3] with the saturation of HSV multiplied, to 1 at most, and the hue turned by a
    share of a turn, at most 1/6; rounded."""
    out = np.empty_like(pixels)
    rows = max(_AT_ONCE // pixels.shape[1], 1)
    for start in range(0, len(pixels), rows):
        block = slice(start, start + rows)
        _change_colours(pixels[block], np.float32(saturation), np.float32(6 * hue), out[block])
    return out


def _change_colours(
    pixels: np.ndarray, saturation: np.float32, shift: np.float32, out: np.ndarray
) -> None:
    """V is the largest channel, and V - chroma the smallest. With the hue h in sixths of a turn,
    the channel that is pure at the hue p has V - chroma clip(2 - ||h - p| - 3|, 0, 1)."""
    red, green, blue = (pixels[..., channel].astype(np.float32) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    scale = 1 / np.maximum(chroma, 1)  # no matter for gray: its chroma is 0
    hue = np.where(
        value == red,
        (green - blue) * scale,
        np.where(value == green, 2 + (blue - red) * scale, 4 + (red - green) * scale),
    )
    hue += shift
    chroma *= saturation
    np.minimum(chroma, value, out=chroma)
    value += np.float32(0.5)  # rounds
    for channel, pure in enumerate(_PURE):
        part = np.abs(hue - np.float32(pure))
        part -= 3
        np.abs(part, out=part)
        np.subtract(2, part, out=part)
        part.clip(0, 1, out=part)
        part *= chroma
        np.subtract(value, part, out=part)
        out[..., channel] = part


def linear(factor: float, offset: float) -> Table:
    """x -> factor x + offset, limited to 0 to 255; fractions are dropped, as in MMSegmentation."""
    values = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    return values.clip(0, 255).astype(np.uint8)


def _mapped(pixels: np.ndarray, tables: list[Table]) -> np.ndarray:
    if not tables:
        return pixels
    table = tables[0]
    for following in tables[1:]:
        table = following[table]
    return table.take(pixels)


def _maybe(rng: np.random.Generator, draw: Callable[[], float]) -> float | None:
    """A number, or None with probability 1/2."""
    return draw() if rng.random() < 0.5 else None
