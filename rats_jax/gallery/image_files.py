"""The pictures of one image, as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rats_jax.gallery.entries import named_sheet
from rats_jax.gallery.html import page_image
from rats_jax.gallery.looking import Seen
from rats_jax.gallery.maps import MapSet, attention_rows
from rats_jax.gallery.pca import Components
from rats_jax.models import Options
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.parts.regions import resize_labels
from rats_jax.pictures.overlays import PALETTE, paint, save_png
from rats_jax.pictures.sheets import ATTENTION, Cell, heat, over, sheet, value_range

FOLDERS = ("regions", "labels", "maps", "attention")
NAMED = "named"  # with a dictionary


class ImageFiles(NamedTuple):
    """Where the files go, and what all images share. k: number of regions. options: of the
    backbone. dictionary: None for none."""

    folder: Path
    k: int
    options: Options
    components: Components
    dictionary: Dictionary | None = None

    def write(self, one: Seen, name: str, stem: str) -> dict:
        """Writes a PNG to each folder. Returns the data of the image for the page. stem: the file
        name without extension."""
        best = one.sets[0]
        colours = self.components.colours(np.asarray(one.features.patches[0]))
        labels = best.regions(self.k)
        save_png(_label_image(labels, best, one.size), self._file("labels", stem))
        save_png(_maps_sheet(one, self.k), self._file("maps", stem))
        save_png(_attention_sheet(one, self.options), self._file("attention", stem))
        save_png(self._regions_sheet(one, name, labels, colours), self._file("regions", stem))
        if one.assigned is not None and self.dictionary is not None:
            save_png(named_sheet(one, name, self.dictionary), self._file(NAMED, stem))
        return page_image(
            name, one.image, one.sets, grid=one.grid, pca=colours, assigned=one.assigned
        )

    def remove(self, stem: str) -> None:
        for kind in (*FOLDERS, NAMED):
            self._file(kind, stem).unlink(missing_ok=True)

    def _file(self, kind: str, stem: str) -> Path:
        return self.folder / kind / f"{stem}.png"

    def _regions_sheet(
        self, one: Seen, name: str, labels: np.ndarray, colours: np.ndarray
    ) -> Image.Image:
        best = one.sets[0]
        regions = f"regions of the best {self.k} {best.unit}"
        if (lead := best.lead(self.k, one.grid)) is not None:
            regions += f", ahead by {lead:.2g} (median)"
        cells = [
            ("image", one.image),
            (regions, _painted(labels, best, one.image)),
            (
                f"principal components of patches: {self.components}",
                over(colours.reshape(*one.grid, 3), one.image, alpha=1),
            ),
        ]
        return sheet([(name, cells)], side=384)


def register_colours(kept: Sequence[int] | np.ndarray) -> np.ndarray:
    """The colours of K registers, ordered by rank, uint8 [K, 3]. A register has the same colour in
    all images, `PALETTE[register]`, unless one of better rank has it: then the next free colour.
    The page does the same."""
    places: list[int] = []
    for place in (register % len(PALETTE) for register in kept):
        while place in places and len(places) < len(PALETTE):
            place = (place + 1) % len(PALETTE)
        places.append(place)
    return PALETTE[places]


def _painted(labels: np.ndarray, maps: MapSet, image: np.ndarray) -> np.ndarray:
    colours = dict(enumerate(register_colours(maps.kept)))
    return paint(resize_labels(labels, image.shape[:2]), image, colours=colours)


def _label_image(labels: np.ndarray, maps: MapSet, size: tuple[int, int]) -> Image.Image:
    """Region ids as an image of the original size; 16 bits if 8 are too few."""
    if labels.max() > 255:
        return Image.fromarray(resize_labels(labels.astype(np.uint16), size))
    picture = Image.fromarray(resize_labels(labels.astype(np.uint8), size)).convert("P")
    picture.putpalette(register_colours(maps.kept[:256]).tobytes())
    return picture


def _maps_sheet(one: Seen, k: int) -> Image.Image:
    rows: list[tuple[str, list[Cell]]] = []
    for maps in one.sets:
        cells = [
            (f"{maps.names[i]}: {value_range(values)}", heat(values.reshape(one.grid), maps.scale))
            for i, values in zip(maps.kept[:k], maps.maps, strict=False)
        ]
        rows.append((f"{maps.title}; by rank", cells))
    rows[0][1].insert(0, ("image", one.image))
    return sheet(rows, side=192, columns=9, scale=one.sets[0].scale)


def _attention_sheet(one: Seen, options: Options) -> Image.Image:
    drawn: list[tuple[str, list[Cell]]] = [("attention to the patches", [("", one.image)])]
    for title, maps in attention_rows(one.features, options):
        cells = [
            (f"{label}: {value_range(values)}", heat(values.reshape(one.grid), ATTENTION))
            for label, values in maps
        ]
        drawn.append((title, cells))
    return sheet(drawn, side=96, scale=ATTENTION)
