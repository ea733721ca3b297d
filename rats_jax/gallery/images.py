"""Reads images, and resizes them to a size that the model accepts."""

from pathlib import Path

import numpy as np
from PIL import Image

from rats_jax.data.decode import UnreadableImage, decode
from rats_jax.errors import BrokenImage
from rats_jax.paths import printable


def read_image(path: Path) -> np.ndarray:
    """uint8 [h, w, 3], upright. Raises BrokenImage if the file cannot be read as an image."""
    try:
        return decode(path.read_bytes())
    except (OSError, UnreadableImage) as error:
        reason = getattr(error, "strerror", None) or error
        raise BrokenImage(printable(f"{path} cannot be shown ({reason})")) from error


def resized(image: np.ndarray, *, resolution: int, patch: int) -> np.ndarray:
    """The image, resized (bicubic) so that its longer side has about `resolution` pixels and the
    aspect ratio is nearly kept: each side is the nearest multiple of the patch, at least one."""
    height, width = image.shape[:2]
    scale = resolution / max(height, width)
    height, width = (max(1, round(side * scale / patch)) * patch for side in (height, width))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
