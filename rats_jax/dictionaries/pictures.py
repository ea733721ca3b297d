"""The pictures of a dictionary: how alike its names are, purity against use, and galleries."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.dictionaries.extraction import BATCH, Extracted
from rats_jax.dictionaries.galleries import (
    Place,
    Seen,
    best_places,
    gallery,
    title_of,
    transferred_places,
)
from rats_jax.dictionaries.plots import draw_name_similarity, draw_purity
from rats_jax.dictionaries.sources import Detecting
from rats_jax.parts.dictionary.kmeans import nearest
from rats_jax.parts.dictionary.naming import NONE, most_frequent
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.parts.dictionary.scores import Assigned
from rats_jax.pictures.overlays import save_png
from rats_jax.writing import draw_if_possible

_ENTRIES, _PUREST, _TRANSFERRED, _IMAGES = 24, 12, 8, 8  # entries, and images of each
_CHUNK = 65_536


class Drawn(NamedTuple):
    """What pictures are made of. own: the name of the source that the entries belong to. assigned:
    the detectors of the scored split."""

    dictionary: Dictionary
    assigned: Assigned
    scored: Extracted
    own: str
    detecting: Detecting


def draw_pictures(folder: Path, drawn: Drawn) -> None:
    """Writes names.png, purity.png, gallery.png and transfer.png, as far as there are names,
    labels and classes. A picture that fails is only reported."""
    dictionary = drawn.dictionary
    if (dictionary.labels != NONE).any():
        draw_if_possible(
            "names.png",
            lambda: draw_name_similarity(dictionary, folder / "names.png", centered=True),
        )
    if (drawn.assigned.label != NONE).any():
        draw_if_possible("purity.png", lambda: _purity(folder / "purity.png", drawn))
    draw_if_possible("gallery.png", lambda: _galleries(folder, drawn))


def _purity(file: Path, drawn: Drawn) -> None:
    entry, label = drawn.assigned.entry, drawn.assigned.label
    count = drawn.assigned.entries
    voters, most, _ = most_frequent(entry, label, entries=count)
    voted = (entry != NONE) & (label != NONE)
    agree = voted & (label == drawn.dictionary.labels[entry])
    agreeing = np.bincount(entry[agree], minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        purity, named = most / voters, agreeing / voters
    named[drawn.dictionary.labels == NONE] = np.nan
    of_parts = np.unique(label[voted], return_counts=True)[1]
    members = np.bincount(entry[entry != NONE], minlength=count)
    draw_purity(members, purity, named, float(of_parts.max() / of_parts.sum()), file)


def _galleries(folder: Path, drawn: Drawn) -> None:
    """The entries of `_chosen`, where they are nearest, one of each image."""
    store, dictionary = drawn.scored.stores[drawn.own], drawn.dictionary
    shape = store.array("exists").shape
    entries = drawn.assigned.entry.reshape(shape)
    squares = np.concatenate(
        [
            nearest(part, dictionary.entries, unit=dictionary.unit)[1]
            for part in store.vectors().chunks(_CHUNK)
        ]
    ).reshape(shape)
    chosen = _chosen(dictionary, entries)
    best = {
        title_of(dictionary, entry): best_places(entries, squares, entry, _IMAGES)
        for entry in chosen
    }
    _save(folder / "gallery.png", best, drawn)
    names, groups = np.unique(drawn.scored.groups, return_inverse=True)
    if len(names) < 2:
        return
    rows = {}
    for entry in chosen[:_TRANSFERRED]:
        home, there, elsewhere = transferred_places(entries, squares, groups, entry, _IMAGES)
        rows[f"{title_of(dictionary, entry)}: in {names[home]}"] = there
        rows[f"entry {entry}, in other classes"] = elsewhere
    _save(folder / "transfer.png", rows, drawn)


def _chosen(dictionary: Dictionary, entries: np.ndarray) -> list[int]:
    """The purest entries of those with at least average use, and then the most used ones; without
    names only the latter. entries: int [S, N] of the scored split."""
    used = np.bincount(entries[entries != NONE], minlength=len(dictionary.entries))
    purity = np.where(used >= used.mean(), np.nan_to_num(dictionary.purity), 0)
    purest = [int(e) for e in np.argsort(-purity, kind="stable")[:_PUREST] if purity[e] > 0]
    most = [int(e) for e in np.argsort(-used, kind="stable") if used[e]]
    return [*purest, *(e for e in most if e not in purest)][:_ENTRIES]


def _save(file: Path, rows: dict[str, list[Place]], drawn: Drawn) -> None:
    seen = _seen({place for places in rows.values() for place in places}, drawn)
    save_png(gallery([(title, [seen[x] for x in row]) for title, row in rows.items()]), file)


def _seen(places: Iterable[Place], drawn: Drawn) -> dict[Place, Seen]:
    """The images and maps of places, computed again: maps of all images would fill the disk."""
    by_image: dict[int, list[Place]] = {}
    for place in places:
        by_image.setdefault(place.image, []).append(place)
    index = drawn.scored.stores[drawn.own].array("index")
    settings, found = drawn.detecting.settings, {}
    images = sorted(by_image)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        samples = [
            drawn.scored.images.read(int(index[i]), side=settings.side, grid=settings.grid)
            for i in batch
        ]
        for image, sample, maps in zip(batch, samples, drawn.detecting.maps(samples), strict=True):
            for place in by_image[image]:
                heat = maps[place.register].reshape(settings.grid)
                found[place] = Seen(sample.pixels, heat, sample.group or "")
    return found
