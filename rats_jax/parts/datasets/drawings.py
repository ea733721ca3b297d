"""Drawings with exact part masks, drawn when they are requested: procedural_parts:COUNT@SEED, and
composites:COUNT@SEED."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rats_jax.parts.datasets.part_dataset import Entry, Labelled, PartDataset
from rats_jax.procedural_parts import BACKGROUND, PARTS, Composites, ProceduralParts
from rats_jax.procedural_parts.place import PATTERN_OF_COMPOSITES, count_and_seed

SIDE = 128  # pixels, the default

_NAMES: Mapping[int, str] = dict(enumerate(PARTS)) | {BACKGROUND: "background"}


@dataclass(frozen=True)
class Drawings(PartDataset):
    """The pictures of a world as a data set. Nothing is stored."""

    source: ProceduralParts = field(kw_only=True)

    @property
    def identities(self) -> set:
        """The world, its seed, and the numbers of the pictures."""
        source = self.source
        return {(type(source), source.seed, entry.details) for entry in self.entries}

    def _read(self, entry: Entry) -> Labelled:
        drawn = self.source.sample(entry.details)
        mask, group = np.asarray(drawn.parts, np.int32), self.source.classes[drawn.label]
        return Labelled(drawn.image, mask, entry.name, group, _NAMES)


def drawings(source: ProceduralParts) -> Drawings:
    """All pictures of a source."""
    return Drawings(
        name="composites" if isinstance(source, Composites) else "procedural_parts",
        flattening="one part a pixel, as drawn; the background is a region",
        entries=[Entry(f"drawing {i}", details=i) for i in range(len(source))],
        read_mask=None,
        background=BACKGROUND,
        classes=_NAMES,
        source=source,
    )


def open_drawings(place: str) -> Drawings:
    """COUNT or COUNT@SEED, of 128 x 128 pixels; the default seed is 0. Raises UserError."""
    count, seed = count_and_seed(place)
    return drawings(ProceduralParts(size=SIDE, length=count, seed=seed))


def open_composites(place: str) -> Drawings:
    """As `open_drawings`, for figures with a part of another category."""
    count, seed = count_and_seed(place, pattern=PATTERN_OF_COMPOSITES)
    return drawings(Composites(size=SIDE, length=count, seed=seed))
