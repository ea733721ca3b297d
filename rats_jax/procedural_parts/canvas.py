"""Rasterises shapes: one id map gives both the exact mask and all inputs of the shading."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from rats_jax.procedural_parts.figure import Shape
from rats_jax.procedural_parts.taxonomy import BACKGROUND

MAX_SHAPES = 256  # the id map is uint8
GRADIENT = 8.0  # the two shading channels encode the ranges 0..8 and -4..4


class Layers(NamedTuple):
    """The properties of the shapes at each pixel. `channels` are averages over the pixel's area.

    channels: uint8 [size, size, 12] = first colour (3), second colour (3), coat, panel, grain,
    height, slope and offset of the shape's light-to-dark swing; parts: uint8 [size, size].
    """

    channels: np.ndarray
    parts: np.ndarray


def rasterise(shapes: list[Shape], *, size: int, light: tuple[float, float]) -> Layers:
    """Paints the shapes in order; coordinates are 0..1 across the frame, y down.

    A pixel's part is that of the topmost shape at its centre. Colours are averaged over a grid of
    odd side within each pixel, so that the middle sample is the centre.
    """
    if len(shapes) > MAX_SHAPES:
        raise ValueError(f"{len(shapes)} shapes; at most {MAX_SHAPES} fit the id map")
    samples = 3 if size >= 96 else 5
    side = size * samples
    points = np.concatenate([shape.points for shape in shapes])
    stops = np.cumsum([len(shape.points) for shape in shapes])
    flat = np.rint(points * side - 0.5).astype(np.int64).ravel().tolist()
    drawn = Image.new("L", (side, side))
    draw = ImageDraw.Draw(drawn)
    start = 0
    for i, stop in enumerate((2 * stops).tolist()):
        draw.polygon(flat[start:stop], fill=i)
        start = stop
    ids = np.asarray(drawn)
    table = _table(shapes, points, stops, light)
    channels = np.empty((size, size, 12), np.uint8)
    for k in range(3):
        packed = np.ascontiguousarray(table[:, 4 * k : 4 * k + 4]).view(np.uint32)[:, 0]
        # CMYK is Pillow's plain four-channel mode: nothing is premultiplied.
        quad = Image.frombuffer("CMYK", (side, side), packed[ids], "raw", "CMYK", 0, 1)
        channels[..., 4 * k : 4 * k + 4] = np.asarray(quad.reduce(samples))
    middle = samples // 2
    part_of = np.array([shape.part for shape in shapes], np.uint8)
    return Layers(channels, part_of[ids[middle::samples, middle::samples]])


def _table(
    shapes: list[Shape], points: np.ndarray, stops: np.ndarray, light: tuple[float, float]
) -> np.ndarray:
    """uint8 [shapes, 12]: the channels of each shape."""
    starts = np.concatenate([[0], stops[:-1]])
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    centre, half = (low + high) / 2, np.maximum((high - low) / 2, 0.03)
    paints = [shape.paint for shape in shapes]
    values = np.array(
        [(*p.first, *p.second, p.coat, p.panel, p.grain, 0, p.volume, 0) for p in paints]
    )
    # The swing is linear along the light: volume at the lit end, minus volume at the far end.
    slope = values[:, 10] / (half @ np.abs(light))
    values[:, 10] = np.rint(slope / GRADIENT * 255) / 255
    values[:, 11] = 0.5 - values[:, 10] * ((centre - 0.5) @ light)
    values[:, 9] = _heights(shapes)
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _heights(shapes: list[Shape]) -> list[float]:
    """Later shapes are higher, and the object is well above its surroundings; details are flat."""
    step = 0.5 / max(1, sum(s.part != BACKGROUND and not s.detail for s in shapes))
    heights, raised, height = [], 0.5, 0.0
    for shape in shapes:
        if not shape.detail:
            if shape.part != BACKGROUND:
                raised += step
            height = raised if shape.part != BACKGROUND else 0.6 * min(raised - 0.35, 1.0)
        heights.append(height)
    return heights
