"""A null for dense probes: patches described by their colour and position, without a model."""

import numpy as np

from rats_jax.parts.colour import mean_lab


def colour_and_position(images: np.ndarray, patch: int) -> np.ndarray:
    """Mean Lab colour and position of each patch, float32 [B, L, 6].

    Colours are divided by 50 and shifted to about -1..1, positions are -1..1. The last value is 1:
    with it, nearest neighbours by cosine also distinguish vectors of one direction.

    images: uint8 [B, height, width, 3].
    """
    lab = mean_lab(images, patch)
    count, *grid = lab.shape[:3]
    centres = np.meshgrid(*((2 * np.arange(n) + 1) / n - 1 for n in grid), indexing="ij")
    places = np.broadcast_to(np.stack(centres, -1), (*lab.shape[:3], 2))
    found = np.concatenate([lab / 50 - (1, 0, 0), places, np.ones_like(lab[..., :1])], -1)
    return found.reshape(count, -1, 6).astype(np.float32)
