"""Patches described by their colour, without a model: a null for what a model knows of patches."""

import numpy as np


def mean_lab(images: np.ndarray, patch: int) -> np.ndarray:
    """Mean Lab colour of each patch, float64 [B, h, w, 3]. L is 0..100, a and b about -100..100.

    images: uint8 [B, height, width, 3], whose sides are multiples of `patch`.
    """
    from skimage.color import rgb2lab  # takes half a second to import

    count, height, width = images.shape[:3]
    grid = height // patch, width // patch
    return rgb2lab(images).reshape(count, grid[0], patch, grid[1], patch, 3).mean((2, 4))
