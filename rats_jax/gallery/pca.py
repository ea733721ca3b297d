"""Patch features as colours: the first three principal components as red, green and blue."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MOST = 32_768  # largest number of patches to fit; of more, only every second, third, ... is used


class Components(NamedTuple):
    """mean: [D]. axes: [D, 3]. middle, span: [3], centre and width of the range of scores from the
    darkest to the brightest colour. shares: [3], of the variance of the patches."""

    mean: np.ndarray
    axes: np.ndarray
    middle: np.ndarray
    span: np.ndarray
    shares: np.ndarray

    def colours(self, patches: np.ndarray) -> np.ndarray:
        """uint8 [L, 3] for patches [L, D]."""
        scores = (patches - self.mean) @ self.axes
        return np.round(255 * ((scores - self.middle) / self.span + 0.5).clip(0, 1)).astype(
            np.uint8
        )

    def __str__(self) -> str:
        return f"{' + '.join(f'{100 * share:.0f}' for share in self.shares)} % of the variance"


def principal_components(patches: Sequence[np.ndarray]) -> Components:
    """The components of the patches [L, D] of all images, so that colours agree between images.

    Colours span each component from its 1st to its 99th percentile, but at least the root mean
    square length of the patches, so that patches that hardly differ stay grey. The sign of a
    component is arbitrary; it is chosen so that the weight of largest magnitude is positive.
    """
    step = -(-sum(map(len, patches)) // MOST)
    rows = np.concatenate([one[::step] for one in patches]).astype(np.float64)
    mean = rows.mean(0)
    centred = rows - mean
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    axes = vectors[:, :-4:-1]  # eigh's order is ascending
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    low, high = np.percentile(centred @ axes, (1, 99), axis=0)
    length = np.sqrt((rows**2).sum(1).mean())
    shares = variances[:-4:-1] / max(variances.sum(), 1e-12)
    return Components(mean, axes, (low + high) / 2, np.maximum(high - low, length), shares)
