"""The random numbers of one image: a stream keyed by (seed, index)."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Uniform numbers from Philox keyed by (seed, index): different keys give unrelated streams.

    All methods use `Generator.random`, whose stream NumPy keeps stable. Numbers are drawn in blocks
    because a scalar call takes longer than the arithmetic around it.
    """

    def __init__(self, *, seed: int, index: int):
        key = np.array([seed, index], dtype=np.uint64)
        self._generator = np.random.Generator(np.random.Philox(key=key))
        self._block: list[float] = []

    def random(self) -> float:
        if not self._block:
            self._block = self._generator.random(512).tolist()
        return self._block.pop()

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int(self.random() * (high - low + 1))

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]
