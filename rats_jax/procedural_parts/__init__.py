"""A drawn world with exact part masks: the 11 super-categories and 40 parts of PartImageNet.

    sample = render(seed=0, index=7, size=128)     # image, parts, label
    source = ProceduralParts(size=128, length=10_000)
    image, label = source[7]

See docs/procedural_parts.md.
"""

import numpy as np

from rats_jax.data.fingerprint import fingerprint_of_arrays
from rats_jax.procedural_parts.composites import COMPOSITES, render_composite
from rats_jax.procedural_parts.scene import Sample, render
from rats_jax.procedural_parts.taxonomy import BACKGROUND, PARTS, SUPER_CATEGORIES, part_ids

__all__ = [
    "BACKGROUND",
    "PARTS",
    "SUPER_CATEGORIES",
    "Composites",
    "ProceduralParts",
    "Sample",
    "part_ids",
    "render",
    "render_composite",
]


class ProceduralParts:
    """The first `length` images of world `seed` as a random-access source.

    Item i is (image uint8 [size, size, 3], label int); `sample(i)` adds the part mask. Nothing is
    stored: each access draws the image again, with the same result.

    Attributes:
      classes: names of the labels, the super-categories.
    """

    classes: tuple[str, ...] = SUPER_CATEGORIES
    _render = staticmethod(render)

    def __init__(self, *, size: int = 128, length: int = 10_000, seed: int = 0):
        self.size, self.length, self.seed = size, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, _, label = self.sample(index)
        return image, label

    def fingerprint(self) -> str:
        """The fingerprint of the first drawings at low resolution. It changes with the seed, the
        size or the drawing code, but not with rounding on other machines."""
        coarse = []
        for index in range(min(self.length, 4)):
            image, _, label = self.sample(index)
            edges = np.arange(8) * self.size // 8
            sums = np.add.reduceat(np.add.reduceat(image.astype(np.int64), edges, 0), edges, 1)
            coarse += [np.array([self.size, label]), sums * 8 // self.size**2]
        return fingerprint_of_arrays(coarse)

    def sample(self, index: int) -> Sample:
        """Image, mask and label of item `index`; IndexError outside 0..length-1."""
        if not 0 <= index < self.length:
            raise IndexError(f"index {index} is outside 0..{self.length - 1}")
        return self._render(seed=self.seed, index=int(index), size=self.size)


class Composites(ProceduralParts):
    """The first `length` composites of world `seed`: figures with a part of another category.

    Attributes:
      classes: names of the labels, such as "quadruped + bird".
    """

    classes = tuple(composite.name for composite in COMPOSITES)
    _render = staticmethod(render_composite)
