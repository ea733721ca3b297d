"""procedural_parts:COUNT@SEED: drawings with exact part masks, drawn when they are requested."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rats_jax.parts.datasets.part_dataset import Entry, Labelled, PartDataset
from rats_jax.procedural_parts import BACKGROUND, PARTS, SUPER_CATEGORIES, ProceduralParts
from rats_jax.procedural_parts.place import count_and_seed

SIDE = 128  # pixels, the default

_NAMES: Mapping[int, str] = dict(enumerate(PARTS)) | {BACKGROUND: "background"}


@dataclass(frozen=True)
class Drawings(PartDataset):
    """The pictures of a world as a data set. Nothing is stored."""

    source: ProceduralParts = field(kw_only=True)

    def _read(self, entry: Entry) -> Labelled:
        drawn = self.source.sample(entry.details)
        mask, group = np.asarray(drawn.parts, np.int32), SUPER_CATEGORIES[drawn.label]
        return Labelled(drawn.image, mask, entry.name, group, _NAMES)


def drawings(source: ProceduralParts) -> Drawings:
    """All pictures of a source."""
    return Drawings(
        name="procedural_parts",
        flattening="one part a pixel, as drawn; the background is a region",
        entries=[Entry(f"drawing {i}", details=i) for i in range(len(source))],
        read_mask=None,
        background=BACKGROUND,
        source=source,
    )


def open_drawings(place: str) -> Drawings:
    """COUNT or COUNT@SEED, of 128 x 128 pixels; the default seed is 0. Raises UserError."""
    count, seed = count_and_seed(place)
    return drawings(ProceduralParts(size=SIDE, length=count, seed=seed))
