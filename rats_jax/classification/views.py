"""The crops of an image for classification: uint8 [h, w, 3] -> uint8 [side, side, 3], by Pillow,
cropped as by torchvision in the official eval_knn.py and eval_linear.py."""

import numpy as np
from PIL import Image

from rats_jax.data.crops import random_box

MARGIN = 256 / 224  # ratio of the resized image's shorter side to the crop's side
SCALE = (0.08, 1.0)  # range of a random crop's area, as a share of the image


def central_crop(pixels: np.ndarray, side: int) -> np.ndarray:
    """The centre of the resized image: Resize(256), bicubic, and CenterCrop(224) for a side of 224,
    in proportion for other sides."""
    height, width = pixels.shape[:2]
    wanted, shorter = round(MARGIN * side), min(height, width)
    # torchvision truncates the longer side to an integer
    width, height = (wanted if x == shorter else int(wanted * x / shorter) for x in (width, height))
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def random_crop(pixels: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """RandomResizedCrop, bilinear as by default in torchvision, and RandomHorizontalFlip."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = random_box((width, height), rng, scale=SCALE)
    cut = Image.fromarray(pixels[top:bottom, left:right])
    crop = np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR))
    return crop[:, ::-1] if rng.random() < 0.5 else crop
