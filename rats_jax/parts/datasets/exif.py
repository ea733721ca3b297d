"""Images that EXIF turns, beside masks made of the pixels as the file stores them."""

import numpy as np
from PIL import Image, ImageOps

from rats_jax.data.decode import ORIENTATION, open_image

AS_STORED = 1
QUARTERS = (5, 6, 7, 8)  # orientations that swap height and width


def orientation(image: bytes) -> int:
    """1 to 8, as EXIF numbers them; 1 where the file says nothing."""
    try:
        given = open_image(image, pixels=False).getexif().get(ORIENTATION, AS_STORED)
    except Exception:  # damaged EXIF, of many kinds: decoding leaves such an image as it is
        return AS_STORED
    return given if given in range(1, 9) else AS_STORED


def upright(labels: np.ndarray, given: int) -> np.ndarray:
    """int32 [h, w] of the stored pixels, turned and mirrored as the image is."""
    image = Image.fromarray(labels.astype(np.int32))
    image.getexif()[ORIENTATION] = given
    return np.asarray(ImageOps.exif_transpose(image))
