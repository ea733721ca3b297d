"""Patch features as colours: the first three principal components as red, green and blue."""

from collections.abc import Sequence

import numpy as np


def pca_colours(patches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """uint8 [L, 3] for each image's patches [L, D], by one fit over all, so that colours agree.

    Each component is stretched from its 1st to its 99th percentile over all images. Its sign, which
    is free, is such that its largest weight is positive.
    """
    count = sum(len(one) for one in patches)
    mean = sum(one.sum(0, dtype=np.float64) for one in patches) / count
    centred = [one - mean for one in patches]
    _, vectors = np.linalg.eigh(sum(one.T @ one for one in centred) / count)
    axes = vectors[:, :-4:-1]  # eigh's order is ascending
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    scores = [one @ axes for one in centred]
    low, high = np.percentile(np.concatenate(scores), (1, 99), axis=0)
    span = np.maximum(high - low, 1e-12)
    return [np.round(255 * ((one - low) / span).clip(0, 1)).astype(np.uint8) for one in scores]
