"""Where the parts of a dictionary are in an image: its detectors' nearest entries, and their maps.

Shape letters as in detectors.py. Entries have names only if the dictionary was made with masks.
"""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from rats_jax.models import Features
from rats_jax.models.options import Options
from rats_jax.parts.dictionary.detectors import detect, layers_needed
from rats_jax.parts.dictionary.kmeans import nearest
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.parts.regions import Size


class Assigned(NamedTuple):
    """The detectors of one image that look at some patch.

    entries: int [n], the nearest entry of each. distances: float32 [n], to that entry.
    maps: float32 [n, L], where each looks, 0 to 1.
    """

    entries: np.ndarray
    distances: np.ndarray
    maps: np.ndarray


Key = TypeVar("Key", int, str)


class PartMap(NamedTuple, Generic[Key]):
    """A part, or an entry, in one image.

    key: its name, or the number of the entry. map: float32 [L], the maximum of its detectors' maps.
    count: how many detectors it has. distance: the smallest from one of them to its entry.
    """

    key: Key
    map: np.ndarray
    count: int
    distance: float


def assign(features: Features, options: Options, dictionary: Dictionary, *, grid: Size) -> Assigned:
    """The nearest entry of each detector of one image (B = 1).

    features: with what `layers_needed` says; other layers are ignored. options: of the backbone.
    """
    needed = layers_needed(options, norm=dictionary.norm)
    features = features._replace(
        attention={layer: features.attention[layer] for layer in needed["attention_of"]},
        layers={layer: features.layers[layer] for layer in needed["layers_of"]},
    )
    regions = min(dictionary.regions, grid[0] * grid[1])
    found = detect(features, options, grid=grid, norm=dictionary.norm, regions=regions)
    vectors, maps = np.asarray(found.vectors[0]), np.asarray(found.maps[0])
    looks = maps.max(-1) > 0  # not so: a cluster without a patch, attention that is uniform
    entries, squares = nearest(vectors[looks], dictionary.entries, unit=dictionary.unit)
    return Assigned(entries, np.sqrt(squares), maps[looks])


def entry_maps(assigned: Assigned) -> list[PartMap[int]]:
    """A map for each entry that is found, in the order of `merged`; the key is its number."""
    return merged(assigned, [int(entry) for entry in assigned.entries])


def named_maps(assigned: Assigned, dictionary: Dictionary) -> list[PartMap[str]]:
    """A map for each name that is found, in the order of `merged`. Detectors whose entry has no
    name are left out. If no entry of the dictionary has a name, they are "entry 0", ...."""
    if (dictionary.labels < 0).all():
        return merged(assigned, [f"entry {entry}" for entry in assigned.entries])
    return merged(assigned, [dictionary.name(entry) for entry in assigned.entries])


def merged(assigned: Assigned, keys: Sequence[Key | None]) -> list[PartMap[Key]]:
    """Merges the maps of detectors with one key (of those with the key None, none) by maximum. In
    order of the number of detectors, the largest first, then of the distance, the smallest
    first."""
    found = []
    for key in dict.fromkeys(key for key in keys if key is not None):
        its = [i for i, other in enumerate(keys) if other == key]
        distance = float(assigned.distances[its].min())
        found.append(PartMap(key, assigned.maps[its].max(0), len(its), distance))
    return sorted(found, key=lambda part: (-part.count, part.distance))
