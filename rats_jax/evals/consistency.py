"""Whether a part is the same part in every image: agreement over the pixels of a whole data set.

Scores within an image (M2O, O2O, ARI) do not ask whether a region of one image and a region of
another are the same part. Here each pixel has an id that means the same in every image, such as the
index of the register that its patch is most like, and its part, and both are compared over all
pixels together (as PDiscoNet, arXiv 2309.03173, and PDiscoFormer, arXiv 2407.04538, do).
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from rats_jax.evals.region_metrics import adjusted_rand


class Agreement(NamedTuple):
    """nmi: normalised mutual information, by the arithmetic mean of the entropies, 0..1. ari:
    adjusted Rand index, chance at 0. pixels: how many were compared."""

    nmi: float
    ari: float
    pixels: int


class Pooled:
    """Counts of (part, id) over images; memory does not grow with their number."""

    def __init__(self):
        self._counts: Counter[tuple[int, int]] = Counter()

    def add(self, parts: np.ndarray, ids: np.ndarray, *, void: int | None = None) -> None:
        """Integer maps of one shape; pixels whose part is `void` do not count."""
        if parts.shape != ids.shape:
            raise ValueError(f"parts are {parts.shape}, ids are {ids.shape}")
        pairs = np.stack([parts.ravel(), ids.ravel()], 1)
        pairs, counts = np.unique(pairs[pairs[:, 0] != void], axis=0, return_counts=True)
        for (part, id_), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            self._counts[part, id_] += count

    @property
    def parts(self) -> set[int]:
        """The ids of parts that were met."""
        return {part for part, _ in self._counts}

    def agreement(self, background: int | None = None) -> Agreement:
        """Of all pixels, or of those whose part is not `background`; NaN for no pixel."""
        kept = {pair: n for pair, n in self._counts.items() if pair[0] != background}
        table = _table(kept)
        if not table.size:
            return Agreement(np.nan, np.nan, 0)
        return Agreement(_normalised_information(table), adjusted_rand(table), int(table.sum()))


def _table(counts: dict[tuple[int, int], int]) -> np.ndarray:
    """int64 [parts, ids]"""
    rows, columns = (sorted(set(ids)) for ids in zip(*counts, strict=True)) if counts else ((), ())
    row, column = ({id_: i for i, id_ in enumerate(ids)} for ids in (rows, columns))
    table = np.zeros((len(row), len(column)), np.int64)
    for (part, id_), count in counts.items():
        table[row[part], column[id_]] = count
    return table


def _normalised_information(table: np.ndarray) -> float:
    """1 where both have one class: they are the same partition."""
    joint = table / table.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    entropies = _entropy(rows), _entropy(columns)
    information = sum(entropies) - _entropy(joint.ravel())
    return float(2 * max(information, 0.0) / sum(entropies)) if sum(entropies) else 1.0


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
