"""Patch features as colours: the first three principal components as red, green and blue."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MOST = 32_768  # patches that the components are computed from; of more, every second, third, ...


class Components(NamedTuple):
    """mean [D], axes [D, 3]. middle, span [3]: what is between the darkest and the brightest.
    shares [3]: of the variance of the patches."""

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
    """Of all images' patches [L, D], so that their colours agree.

    Each component is stretched from its 1st to its 99th percentile, but its range is at least the
    root mean square length of the patches: patches that hardly differ stay grey. Its sign, which is
    free, is such that its largest weight is positive.
    """
    step = -(-sum(map(len, patches)) // MOST)
    patches = np.concatenate([one[::step] for one in patches]).astype(np.float64)
    mean = patches.mean(0)
    centred = patches - mean
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(patches))
    axes = vectors[:, :-4:-1]  # eigh's order is ascending
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    low, high = np.percentile(centred @ axes, (1, 99), axis=0)
    length = np.sqrt((patches**2).sum(1).mean())
    shares = variances[:-4:-1] / max(variances.sum(), 1e-12)
    return Components(mean, axes, (low + high) / 2, np.maximum(high - low, length), shares)
