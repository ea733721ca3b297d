"""Fields of 0..1 that mix the first and the second colour of a paint."""

from functools import lru_cache

import numpy as np
from PIL import Image

from rats_jax.procedural_parts.dice import Dice

SIDE = 512
COATS = ("spots", "upright stripes", "level stripes", "patches", "speckle", "rosettes", "two tone")
PANELS = ("scallops", "ribs", "planks")


def _noise(cells: int, key: int) -> np.ndarray:
    """Smooth noise, float64 [SIDE, SIDE] in 0..1, with bumps SIDE/cells pixels wide."""
    random = np.random.Generator(np.random.Philox(key=key))
    lattice = (random.random((cells, cells)) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(lattice).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255


def _step(field: np.ndarray, threshold: float, softness: float = 0.05) -> np.ndarray:
    return np.clip((field - threshold) / softness + 0.5, 0, 1)


def _field(kind: str) -> np.ndarray:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    warp = 0.10 * _noise(9, 1)
    if kind == "spots":
        return _step(_noise(26, 2), 0.66, 0.1)
    if kind == "patches":
        return _step(0.75 * _noise(9, 3) + 0.25 * _noise(25, 4), 0.52, 0.06)
    if kind == "speckle":
        return _step(_noise(64, 5), 0.62, 0.2)
    if kind == "rosettes":
        return 1 - _step(np.abs(_noise(24, 6) - 0.62), 0.07, 0.06)
    if kind == "upright stripes":
        return _step(np.sin(2 * np.pi * 9 * (x + warp)), 0.1, 0.5)
    if kind == "level stripes":
        return _step(np.sin(2 * np.pi * 8 * (y + warp)), 0.2, 0.5)
    if kind == "two tone":
        return _step(np.sin(2 * np.pi * 2 * (y + 0.4 * x + warp)), 0.1, 0.3)
    if kind == "scallops":
        row = np.floor(y * 24)
        u = (x * 20 + 0.5 * (row % 2)) % 1 - 0.5
        v = y * 24 - row
        return np.clip(np.abs(u * u * 2.5 + v * v - 0.55) * -6 + 1, 0, 1)
    if kind == "ribs":
        return _step(np.sin(2 * np.pi * 22 * (0.55 * x + 0.8 * y + 0.5 * warp)), 0.3, 0.7)
    if kind == "planks":
        return _step(np.abs((y * 16 + warp) % 1 - 0.5), 0.43, 0.1)
    if kind == "cloud":
        return 0.5 * _noise(8, 7) + 0.3 * _noise(24, 8) + 0.2 * _noise(90, 9)
    raise ValueError(f"no texture named {kind!r}")


@lru_cache(maxsize=64)
def _bank(kind: str, reduction: int) -> Image.Image:
    """The field as an 8-bit picture, made once, or a coarser version for small images."""
    if reduction > 1:
        return _bank(kind, 1).reduce(reduction)
    return Image.fromarray(np.rint(_field(kind) * 255).astype(np.uint8))


class Texture:
    """A window of one field, drawn once per image, sampled at any size."""

    def __init__(self, dice: Dice, kind: str, *, extent: tuple[float, float]):
        side = SIDE * dice.uniform(*extent)
        left, top = dice.random() * (SIDE - side), dice.random() * (SIDE - side)
        self._kind, self._box = kind, (left, top, left + side, top + side)
        self._mirrored = dice.chance(0.5)

    def sample(self, size: int) -> np.ndarray:
        """float32 [size, size] in 0..1. The filter averages, so that all sizes look the same."""
        reduction = 1
        while self._box[2] - self._box[0] >= 3 * size * reduction and reduction < 8:
            reduction *= 2
        left, top, right, bottom = (edge / reduction for edge in self._box)
        picture = _bank(self._kind, reduction).resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
        )
        field = np.asarray(picture)
        return (field[:, ::-1] if self._mirrored else field).astype(np.float32) / 255
