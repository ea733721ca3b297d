"""Bilinear interpolation of masks, as torch's interpolate with align_corners=False."""

from typing import NamedTuple

import numpy as np


class Taps(NamedTuple):
    """For each new pixel along an axis: the two old ones, int [n], and the second one's weight,
    float32 [n]."""

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray


def taps(pixels: int, length: int) -> Taps:
    """Those of `pixels` new pixels from `length` old ones. Beyond the outer centers, the value of
    the outer pixel; no smoothing when the number of pixels is reduced."""
    place = ((np.arange(pixels) + 0.5) * length / pixels - 0.5).clip(0, length - 1)
    first = place.astype(np.intp)
    return Taps(first, np.minimum(first + 1, length - 1), (place - first).astype(np.float32))


def between(first: np.ndarray, second: np.ndarray, weight: np.ndarray | np.float32) -> np.ndarray:
    """first + weight (second - first); writes into `second`, which is a copy."""
    second -= first
    second *= weight
    second += first
    return second
