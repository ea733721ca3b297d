"""The images to look at: read, and brought to a size that the model takes."""

from pathlib import Path

import numpy as np
from PIL import Image

from rats_jax.data.decode import UnreadableImage, decode
from rats_jax.errors import BrokenImage
from rats_jax.paths import printable


def read_image(path: Path) -> np.ndarray:
    """uint8 [h, w, 3], upright. Raises BrokenImage if it is no image."""
    try:
        return decode(path.read_bytes())
    except (OSError, UnreadableImage) as error:
        reason = getattr(error, "strerror", None) or error
        raise BrokenImage(printable(f"{path} cannot be shown ({reason})")) from error


def resized(image: np.ndarray, *, resolution: int, patch: int) -> np.ndarray:
    """The image with its longer side about `resolution` pixels, its aspect kept as well as whole
    patches allow: each side the nearest multiple of the patch, one at least. Bicubic."""
    height, width = image.shape[:2]
    scale = resolution / max(height, width)
    height, width = (max(1, round(side * scale / patch)) * patch for side in (height, width))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
