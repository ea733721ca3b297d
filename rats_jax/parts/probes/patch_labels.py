"""Masks as targets of patches, and class scores of patches as labels of pixels.

Shape letters: B images, L = h w patches (row-major), C classes, s points per side of a patch.
"""

import numpy as np

from rats_jax.parts.datasets import VOID
from rats_jax.parts.regions import Size, bilinear_matrix, resize_labels

POINTS = 8  # the most points per side of a patch
ROWS = 64  # of pixels at once


def points_of(mask: np.ndarray, *, grid: Size, patch: int) -> np.ndarray:
    """The ids of a mask at s x s points in each patch, s = min(patch, 8), by nearest neighbour:
    int32 [h s, w s]. Training uses these, so that memory does not grow with the size of masks."""
    side = min(patch, POINTS)
    return resize_labels(mask, (grid[0] * side, grid[1] * side)).astype(np.int32)


def places_of(ids: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The place of each id in `classes` (ascending, without void), -1 for void and unknown ids."""
    places = np.minimum(np.searchsorted(classes, ids), len(classes) - 1)
    return np.where(classes[places] == ids, places, -1).astype(np.int32)


def class_counts(places: np.ndarray, *, grid: Size, classes: int) -> np.ndarray:
    """How many points of each patch are of each class, uint8 [B, L, C]; the others are void.

    places: int [B, h s, w s], -1 for void.
    """
    count, height, width = places.shape
    points = height // grid[0]
    patch = np.arange(height)[:, None] // points * grid[1] + np.arange(width) // points
    patch = np.arange(count)[:, None, None] * (grid[0] * grid[1]) + patch
    cells = patch * classes + places
    counts = np.bincount(cells[places >= 0], minlength=count * grid[0] * grid[1] * classes)
    return counts.astype(np.uint8).reshape(count, -1, classes)


def pixel_labels(scores: np.ndarray, size: Size) -> np.ndarray:
    """The class with the largest score in each pixel, int [height, width].

    Scores float32 [h, w, C] are enlarged bilinearly, with half-pixel centres, as by PyTorch's
    `interpolate` with align_corners=False. Ties: the lower class.
    """
    possible = _possible(scores.reshape(-1, scores.shape[-1]))
    down, across = (bilinear_matrix(n, old) for n, old in zip(size, scores.shape, strict=False))
    rows = np.tensordot(down, scores[..., possible], 1)  # [height, w, C]
    blocks = [
        np.matmul(across, rows[start : start + ROWS]).argmax(-1)
        for start in range(0, size[0], ROWS)
    ]
    return possible[np.concatenate(blocks)]


def _possible(scores: np.ndarray) -> np.ndarray:
    """The classes that can be the largest between patches, from scores [L, C]: those for which no
    other class is larger in every patch. Of many classes, few are left."""
    winners = np.unique(scores.argmax(1))
    exceeded = np.zeros(scores.shape[1], bool)
    for winner in winners:
        exceeded |= (scores[:, winner, None] > scores).all(0)
    return np.flatnonzero(~exceeded)


def ids_in(ids: np.ndarray) -> np.ndarray:
    """The different ids, ascending, without void."""
    found = np.unique(ids)
    return found[found != VOID]
