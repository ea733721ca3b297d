"""Pictures of what a backbone sees in images: the work of python -m rats_jax.visualize."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from rats_jax.backbones import Backbone
from rats_jax.command_line import say
from rats_jax.errors import UserError
from rats_jax.evals.regions import resize_labels
from rats_jax.paths import printable
from rats_jax.pictures.images import read_image, resized
from rats_jax.pictures.maps import MapSet, attention_rows, map_sets
from rats_jax.pictures.overlays import PALETTE, paint, save_png
from rats_jax.pictures.page import page, page_image, pca_text
from rats_jax.pictures.pca import pca_colours
from rats_jax.pictures.sheets import Cell, heat, over, sheet
from rats_jax.results_folder import file_names

USUAL_K = 8


def draw(
    backbone: Backbone,
    images: Sequence[tuple[str, Path]],
    folder: Path,
    *,
    top_k: int | None,
    resolution: int,
) -> None:
    """Writes into a folder, for each (name, file) of an image:

    - regions/NAME.png: the image, its K regions, the principal components of its patches;
    - labels/NAME.png: the regions as ids, at the image's own size (a palette colours them);
    - maps/NAME.png: the K best registers, or all heads of a ViT: where each is strong;
    - attention/NAME.png: attention to the patches, every head's;

    and index.html with all images.

    top_k: K; None for 8, or as many as there are, and for all heads of a ViT. resolution: see
    `images.resized`.

    Raises:
      UserError: if a file is no image, or K is above what the model has.
    """
    patch, options = backbone.options["patch"], backbone.options
    say(f"reading {len(images)} image{'s' if len(images) > 1 else ''}")
    pictures, sizes = [], []
    for _, path in images:
        image = read_image(path)
        sizes.append(image.shape[:2])
        pictures.append(resized(image, resolution=resolution, patch=patch))
    # The layer that attends to the patches.
    layer = 0 if options["architecture"] == "perceiver" else options["depth"] - 1
    look = backbone.looking((layer,))

    names = [printable(name) for name, _ in images]
    stems = file_names(names)
    parts, patches, regions = [], [], []
    for i, (name, image) in enumerate(zip(names, pictures, strict=True)):
        grid = (image.shape[0] // patch, image.shape[1] // patch)
        say(f"image {i + 1} of {len(images)}: {name}, {grid[0]} x {grid[1]} patches")
        features = jax.device_get(look(image[None]))
        sets = map_sets(features, options, grid=grid)
        k = _checked_k(top_k, sets[0])
        labels = sets[0].regions(k)
        _save_labels(labels, sets[0], sizes[i], folder / "labels" / f"{stems[i]}.png")
        save_png(_maps_sheet(image, sets, k, grid), folder / "maps" / f"{stems[i]}.png")
        rows = attention_rows(features, options)
        save_png(_attention_sheet(rows, image, grid), folder / "attention" / f"{stems[i]}.png")
        parts.append(page_image(name, image, sets, grid=grid))
        regions.append(_painted(labels, sets[0], image))
        patches.append(np.asarray(features.patches[0], np.float16))  # colours need no more

    say("principal components of all patches")
    for i, colours in enumerate(pca_colours(patches)):
        parts[i]["pca"] = pca_text(colours)
        shown = over(colours.reshape(*parts[i]["grid"], 3), pictures[i], alpha=1)
        cells = [
            ("image", pictures[i]),
            (f"regions of the best {k} {sets[0].unit}", regions[i]),
            ("principal components of patches", shown),
        ]
        save_png(sheet([(names[i], cells)], side=384), folder / "regions" / f"{stems[i]}.png")
    html = page(origin=backbone.origin, sets=sets, top_k=k, images=parts)
    (folder / "index.html").write_text(html, "utf-8")


def _checked_k(top_k: int | None, maps: MapSet) -> int:
    count = len(maps.maps)
    if top_k is None:
        return count if maps.unit == "heads" else min(USUAL_K, count)
    if not 1 <= top_k <= count:
        raise UserError(f"--top_k={top_k}: the model has {count} {maps.unit}; choose 1 to {count}")
    return top_k


def register_colours(kept: Sequence[int]) -> np.ndarray:
    """uint8 [K, 3]: for each register its colour in all images, `PALETTE[register]` where no better
    rank has it, else the next free. The page does the same."""
    places: list[int] = []
    for place in (register % len(PALETTE) for register in kept):
        while place in places and len(places) < len(PALETTE):
            place = (place + 1) % len(PALETTE)
        places.append(place)
    return PALETTE[places]


def _painted(labels: np.ndarray, maps: MapSet, image: np.ndarray) -> np.ndarray:
    colours = dict(enumerate(register_colours(maps.kept)))
    return paint(resize_labels(labels, image.shape[:2]), image, colours=colours)


def _save_labels(labels: np.ndarray, maps: MapSet, size: tuple[int, int], path: Path) -> None:
    labels = resize_labels(labels, size)
    if labels.max() > 255:
        picture = Image.fromarray(labels.astype(np.uint16))
    else:
        picture = Image.fromarray(labels.astype(np.uint8)).convert("P")
        picture.putpalette(register_colours(maps.kept[:256]).tobytes())
    save_png(picture, path)


def _maps_sheet(
    image: np.ndarray, sets: Sequence[MapSet], k: int, grid: tuple[int, int]
) -> Image.Image:
    rows: list[tuple[str, list[Cell]]] = []
    for maps in sets:
        cells = []
        for one, kept in zip(maps.maps[:k], maps.kept, strict=False):
            low, high = float(one.min()), float(one.max())
            coloured = over(heat(one.reshape(grid), low=low, high=high), image)
            cells.append((f"{maps.names[kept]}: {low:.2g} to {high:.2g}", coloured))
        rows.append((f"{maps.title}; by rank, dark is low, bright is high", cells))
    rows[0][1].insert(0, ("image", image))
    return sheet(rows, side=192, columns=9)


def _attention_sheet(
    rows: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]],
    image: np.ndarray,
    grid: tuple[int, int],
) -> Image.Image:
    drawn: list[tuple[str, list[Cell]]] = [
        ("attention to the patches; dark is each map's lowest, bright its highest", [("", image)])
    ]
    for title, maps in rows:
        cells = []
        for label, one in maps:
            cells.append((label, heat(one.reshape(grid), low=one.min(), high=one.max())))
        drawn.append((title, cells))
    return sheet(drawn, side=96)
