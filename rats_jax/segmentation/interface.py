"""What all decoders of segmentation share: an image with its truth, and what a model says of it."""

from typing import NamedTuple

import numpy as np

from rats_jax.parts.datasets import VOID

__all__ = ["VOID", "Outputs", "Segmented"]


class Segmented(NamedTuple):
    """An image with its truth.

    image: uint8 [h, w, 3], upright.
    labels: semantic: int16 [h, w], the place of each pixel's class in `classes`, or VOID. None for
        instances.
    masks: instances: bool [M, h, w], which may overlap. None for semantic.
    categories: instances: int16 [M], the place of each instance's class in `classes`.
    crowd: instances: bool [M], whether it is a group of unknown number, as COCO's iscrowd; such
        pixels are ignored in scoring, and belong to no mask in training.
    name: relative path of the image, unique in the data set.
    """

    image: np.ndarray
    labels: np.ndarray | None
    masks: np.ndarray | None
    categories: np.ndarray | None
    crowd: np.ndarray | None
    name: str


class Outputs(NamedTuple):
    """What mask classification says of one image with Q queries and C classes.

    class_logits: float32 [Q, C + 1], the last for no object. mask_logits: float32 [Q, h', w'], for
        the image without padding, at any resolution: they are resized to the image bilinearly
        (half-pixel centers, as torch's interpolate with align_corners=False).
    """

    class_logits: np.ndarray
    mask_logits: np.ndarray
