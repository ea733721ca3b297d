"""Integer ids of pixels, from PNG files."""

from pathlib import Path

import numpy as np

from rats_jax.data.decode import UnreadableImage, open_image
from rats_jax.errors import UserError
from rats_jax.evals.datasets.part_dataset import read_bytes

_ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B")


def read_ids(path: Path) -> np.ndarray:
    """int32 [h, w] of a PNG of one channel, 1 to 16 bits; of a palette, the indices."""
    return _read(path, _ONE_CHANNEL, "one channel of 8 or 16 bits").astype(np.int32)


def read_rgb_ids(path: Path) -> np.ndarray:
    """int32 [h, w], R + 256 G + 65536 B of an RGB PNG."""
    red, green, blue = np.moveaxis(_read(path, ("RGB",), "RGB").astype(np.int32), -1, 0)
    return red + 256 * green + 65536 * blue


def _read(path: Path, modes: tuple[str, ...], expected: str) -> np.ndarray:
    try:
        image = open_image(read_bytes(path), ("PNG",))
    except UnreadableImage as error:
        raise UserError(f"{path} is no PNG that can be read ({error}); get it again") from error
    if image.mode not in modes:
        raise UserError(f"{path} has Pillow's mode {image.mode}; write ids as a PNG of {expected}")
    return np.asarray(image)
