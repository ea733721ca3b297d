"""Images at the size at which a model is scored."""

import numpy as np
from PIL import Image

from rats_jax.segmentation.interface import Outputs

Size = tuple[int, int]


def evaluated_size(size: Size, *, short_side: int, long_side: int, multiple: int) -> Size:
    """The (height, width) at which an image of `size` is scored.

    The short side becomes `short_side`, or less if the long side would exceed `long_side`. Then
    each side becomes the nearest multiple of `multiple` (the patch), at least one and within
    `long_side`, so that no patch is partly padding; with 512 pixels and a patch of 16 this changes
    the aspect ratio by 1.6 % at most.
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


def on_canvas(image: np.ndarray, side: int) -> np.ndarray:
    """The image in the upper left corner of a square of zeros, uint8 [side, side, 3], as in
    training. All images then have one shape, and a program is compiled once."""
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def off_canvas(outputs: Outputs, size: Size, side: int) -> Outputs:
    """What a model says of a canvas, without the padding around an image of `size`."""
    height, width = (
        cropped(n, size[axis], side) for axis, n in enumerate(outputs.mask_logits.shape[1:])
    )
    return outputs._replace(mask_logits=outputs.mask_logits[:, :height, :width])


def cropped(length: int, side: int, canvas: int) -> int:
    """How many of `length` values along a canvas belong to an image of `side` pixels. Raises
    ValueError unless it is a whole number: the side must be a multiple of the patch."""
    whole, rest = divmod(length * side, canvas)
    if rest:
        raise ValueError(f"{side} of {canvas} pixels are not a whole number of {length} values")
    return whole
