"""Instances from label maps: an instance is a connected component of a class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rats_jax.parts.datasets import VOID
from rats_jax.segmentation.interface import Segmented
from rats_jax.segmentation.label_maps import LabelMaps

MOST = 256  # instances of an image: a mask with noise could have any number
RULE = (
    "an instance is a connected component of a class, also by its corners; of more than "
    f"{MOST} in an image the largest"
)


@dataclass(frozen=True)
class Components:
    """The images of label maps with the components of their classes as instances."""

    maps: LabelMaps

    @property
    def names(self) -> Sequence[str]:
        return self.maps.names

    @property
    def identities(self) -> set:
        return self.maps.identities

    @property
    def world(self) -> str:
        return self.maps.world

    def size(self, i: int) -> tuple[int, int] | None:
        return self.maps.size(i)

    def subset(self, indices: Sequence[int]) -> "Components":
        return replace(self, maps=self.maps.subset(indices))

    def annotated(self) -> Sequence[int]:
        return self.maps.annotated()

    def read(self, i: int) -> Segmented:
        sample = self.maps.read(i)
        assert sample.labels is not None
        masks, categories = components(sample.labels)
        crowd = np.zeros(len(masks), bool)
        return sample._replace(labels=None, masks=masks, categories=categories, crowd=crowd)


def components(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool [M, h, w] and their labels, int16 [M], from int16 [h, w] with VOID."""
    from skimage.measure import label  # takes a third of a second

    numbers = label(labels, background=VOID, connectivity=2)
    kept = np.arange(1, int(numbers.max()) + 1)
    if len(kept) > MOST:
        areas = np.bincount(numbers.ravel())[1:]
        kept = np.sort(np.argsort(-areas, kind="stable")[:MOST]) + 1
    categories = np.full(int(numbers.max()) + 1, VOID, np.int16)
    categories[numbers] = labels  # all pixels of a component have the same
    return numbers == kept[:, None, None], categories[kept]
