"""Semantic truth from images with an id for each pixel, which means the same in all images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID, PartDataset
from rats_jax.parts.datasets.drawings import Drawings
from rats_jax.paths import printable
from rats_jax.segmentation.class_choice import LARGEST_ID, Classes, shown
from rats_jax.segmentation.image_size import Size, size_of
from rats_jax.segmentation.interface import Segmented

_UNKNOWN = -2


@dataclass(frozen=True)
class LabelMaps:
    """The images of a `PartDataset` with places of classes.

    Attributes:
      parts: the images and masks.
      ids: the id of each class.
      ignored: ids that are ignored, as the data set's own void is.
      others_void: whether ids that are no class are ignored; otherwise they are errors.
      labelled: whether each mask has a pixel of a class, as far as it is known; None if it is not.
    """

    parts: PartDataset
    ids: tuple[int, ...]
    ignored: tuple[int, ...]
    others_void: bool
    labelled: tuple[bool, ...] | None = None

    @cached_property
    def names(self) -> Sequence[str]:
        return [entry.name for entry in self.parts.entries]

    @property
    def identities(self) -> set:
        return self.parts.identities

    @property
    def world(self) -> str:
        return self.parts.source.fingerprint() if isinstance(self.parts, Drawings) else ""

    def read(self, i: int) -> Segmented:
        sample = self.parts.sample(i)
        labels = self.places(sample.mask)
        if (labels == _UNKNOWN).any():
            raise UserError(self._unknown(sample.name, sample.mask[labels == _UNKNOWN]))
        return Segmented(sample.image, labels, None, None, None, sample.name)

    def size(self, i: int) -> Size | None:
        if isinstance(self.parts, Drawings):
            return (self.parts.source.size,) * 2
        return size_of(self.parts.entries[i])

    def places(self, mask: np.ndarray) -> np.ndarray:
        """int16: the place of each id's class, VOID, or _UNKNOWN."""
        return self._table[np.minimum(mask, len(self._table) - 2)]

    def subset(self, indices: Sequence[int]) -> "LabelMaps":
        entries = [self.parts.entries[i] for i in indices]
        labelled = self.labelled and tuple(self.labelled[i] for i in indices)
        return replace(self, parts=replace(self.parts, entries=entries), labelled=labelled)

    def annotated(self) -> Sequence[int]:
        whole = range(len(self.parts))
        return whole if self.labelled is None else [i for i in whole if self.labelled[i]]

    def check_ids(self, ids_of_masks: Sequence[np.ndarray | None]) -> None:
        """Raises UserError with the ids in the masks that are no classes, if there are any."""
        first, unknown = "", [np.zeros(0, np.int32)]
        for entry, ids in zip(self.parts.entries, ids_of_masks, strict=True):
            if ids is not None and (of_mask := ids[self.places(ids) == _UNKNOWN]).size:
                first = first or entry.name
                unknown.append(of_mask)
        if first:
            raise UserError(printable(self._unknown(first, np.concatenate(unknown))))

    @cached_property
    def _table(self) -> np.ndarray:
        """int16, by id. The last two items are those of all larger ids, and of VOID (-1)."""
        largest = max(self.ids + self.ignored)
        table = np.full(largest + 3, VOID if self.others_void else _UNKNOWN, np.int16)
        table[list(self.ids)] = np.arange(len(self.ids))
        table[list(self.ignored)] = VOID
        table[-1] = VOID
        return table

    def _unknown(self, name: str, found: np.ndarray) -> str:
        """name: of the first image with one of the ids. found: these ids, also repeated."""
        ids = np.unique(found).tolist()
        if len(ids) > 1:
            return (
                f"masks of {self.parts.name} hold the ids {shown(ids)}, which are no classes (they "
                f"are {shown(self.ids)}), the first in {name}: add them to config.data.classes"
            )
        return (
            f"{name} of {self.parts.name} holds id {ids[0]}, which is no class (they are "
            f"{shown(self.ids)}): add it to config.data.classes, or ignore it with "
            f"config.data.void={ids[0]}"
        )


def open_label_maps(
    parts: PartDataset,
    classes: Classes,
    *,
    ignored: tuple[int, ...],
    others_void: bool,
    ids_of_masks: Sequence[np.ndarray | None] | None,
) -> LabelMaps:
    """`LabelMaps` of these classes.

    ids_of_masks: the ids in each mask, None for a broken mask; None if they are not known.

    Raises:
      UserError: there is no class, or an id is too large.
    """
    if not classes.ids:
        raise UserError(
            f"{parts.name}: its masks hold no class, only void; give masks with classes"
        )
    if (largest := max(classes.ids)) > LARGEST_ID:
        raise UserError(
            f"{parts.name}: class id {largest} is above {LARGEST_ID:,}; renumber the ids of masks"
        )
    labelled: tuple[bool, ...] | None = None
    if ids_of_masks is not None:
        labelled = tuple(
            ids is None or bool(np.isin(ids, classes.ids).any()) for ids in ids_of_masks
        )
    return LabelMaps(parts, classes.ids, ignored, others_void, labelled)
