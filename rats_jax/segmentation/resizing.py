"""Images at the size at which a model is scored."""

import numpy as np
from PIL import Image

Size = tuple[int, int]


def evaluated_size(size: Size, *, short_side: int, long_side: int, multiple: int) -> Size:
    """The (height, width) at which an image of `size` is scored.

    The short side becomes `short_side`, or less if the long side would exceed `long_side`. Then
    each side becomes the nearest multiple of `multiple` (the patch; twice the patch for
    Mask2Former), at least one and within `long_side`, so that no patch is partly padding. This
    changes a side of 512 pixels by 1.6 % at most with a multiple of 16, and by 3.1 % with 32.
    """
    factor = min(short_side / min(size), long_side / max(size))
    most = max(long_side // multiple, 1)
    height, width = (min(max(round(n * factor / multiple), 1), most) * multiple for n in size)
    return height, width


def for_evaluation(image: np.ndarray, short_side: int, long_side: int, multiple: int) -> np.ndarray:
    """An image, uint8 [h, w, 3], at its `evaluated_size`; bilinear, with smoothing where it is
    reduced."""
    height, width = evaluated_size(
        image.shape[:2], short_side=short_side, long_side=long_side, multiple=multiple
    )
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)
