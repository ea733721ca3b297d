"""Images rotated by EXIF, whose masks may be drawn on the pixels as the file stores them."""

import numpy as np
from PIL import Image, ImageOps

from rats_jax.data.decode import ORIENTATION, open_image

AS_STORED = 1
QUARTERS = (5, 6, 7, 8)  # orientations that swap height and width


def orientation(image: bytes) -> int:
    """The EXIF orientation, 1 to 8; 1 if the file has none."""
    try:
        given = open_image(image, pixels=False).getexif().get(ORIENTATION, AS_STORED)
    except Exception:  # damaged EXIF, of many kinds: decoding leaves such an image as it is
        return AS_STORED
    return given if given in range(1, 9) else AS_STORED


def upright(labels: np.ndarray, given: int) -> np.ndarray:
    """Labels [h, w] of the stored pixels, rotated and mirrored like the image; int32."""
    image = Image.fromarray(labels.astype(np.int32))
    image.getexif()[ORIENTATION] = given
    return np.asarray(ImageOps.exif_transpose(image))
