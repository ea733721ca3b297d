"""A few images of an evaluation with their regions, as one picture for TensorBoard."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from rats_jax.parts.datasets import VOID
from rats_jax.parts.regions import resize_labels
from rats_jax.pictures.overlays import part_sheet

COUNT = 4  # images; each is a row
SIDE = 128  # pixels of the longer side: the events of a run of 400 evaluations stay small


class Shown(NamedTuple):
    """image: uint8 [S, S, 3], as the model sees it. mask: int [h, w], the parts. labels: int
    [gh, gw], the model's regions on its patches."""

    image: np.ndarray
    mask: np.ndarray
    labels: np.ndarray


def part_picture(shown: Sequence[Shown], *, k: int) -> np.ndarray:
    """uint8 [h, w, 3]: rows of image, parts and K regions, each in the colour of the part that it
    matches best."""
    images, parts, regions = [], [], []
    for image, mask, labels in shown:
        height, width = mask.shape
        scale = SIDE / max(height, width)
        size = max(round(height * scale), 1), max(round(width * scale), 1)
        small = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
        images.append(np.asarray(small))
        parts.append(resize_labels(mask, size))
        regions.append(resize_labels(labels, size))
    columns = {"parts": parts, f"K = {k}": regions}
    return np.asarray(part_sheet(images, columns, truth="parts", void=VOID, side=SIDE))
