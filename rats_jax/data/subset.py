"""A part of a data set, for a quick test: evenly spread, since data sets are sorted by class."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from rats_jax.data.fingerprint import fingerprint, fingerprint_of_names
from rats_jax.data.sources import Source


def evenly(length: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `length` items, evenly spread; of all items if `most` is 0."""
    count = min(length, most) or length
    return np.arange(count) * length // count


class Subset(Sequence):
    """The items of a source or sequence at some indices, with their names in the source."""

    def __init__(self, source: Source | Sequence, indices: np.ndarray):
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Any:
        return self._source[int(self._indices[index])]

    def fingerprint(self) -> str | None:
        """The fingerprint of the source and the indices; None if the source has none."""
        whole = fingerprint(self._source)
        return None if whole is None else fingerprint_of_names([whole, *self._indices.tolist()])

    @cached_property
    def files(self) -> Sequence[str]:
        names = getattr(self._source, "files", None)
        if names is None:
            return [f"image {i}" for i in self._indices]
        return Subset(names, self._indices)
