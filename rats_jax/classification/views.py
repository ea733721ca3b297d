"""What classification sees of an image: uint8 [h, w, 3] -> uint8 [side, side, 3], by Pillow, as
torchvision cuts it out in the official eval_knn.py and eval_linear.py."""

import numpy as np
from PIL import Image

from rats_jax.data.crops import random_box

MARGIN = 256 / 224  # the shorter side of a whole image to the crop's
SCALE = (0.08, 1.0)  # of a random crop's area


def central_crop(pixels: np.ndarray, side: int) -> np.ndarray:
    """The middle, once the image has been resized: Resize(256), bicubic, and CenterCrop(224) for a
    side of 224, and in proportion for others."""
    height, width = pixels.shape[:2]
    wanted, shorter = round(MARGIN * side), min(height, width)
    # torchvision cuts off the fraction of the longer side
    width, height = (wanted if x == shorter else int(wanted * x / shorter) for x in (width, height))
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def random_crop(pixels: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """RandomResizedCrop, bilinear as is torchvision's default, and RandomHorizontalFlip."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = random_box((width, height), rng, scale=SCALE)
    cut = Image.fromarray(pixels[top:bottom, left:right])
    crop = np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR))
    return crop[:, ::-1] if rng.random() < 0.5 else crop
