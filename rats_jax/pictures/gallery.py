"""Pictures of what a backbone sees in images: the work of python -m rats_jax.visualize."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from rats_jax.backbones import Backbone
from rats_jax.command_line import say
from rats_jax.errors import UserError
from rats_jax.evals.labelled import BrokenImage
from rats_jax.evals.reading import LeftOut, Progress
from rats_jax.evals.regions import resize_labels
from rats_jax.models import Features
from rats_jax.paths import printable
from rats_jax.pictures.finding import spread
from rats_jax.pictures.images import read_image, resized
from rats_jax.pictures.maps import MapSet, attention_rows, map_sets
from rats_jax.pictures.overlays import PALETTE, paint, save_png
from rats_jax.pictures.page import Pages, page_image
from rats_jax.pictures.pca import Components, principal_components
from rats_jax.pictures.sheets import ATTENTION, Cell, heat, over, sheet, value_range
from rats_jax.results_folder import file_names

USUAL_K = 8
FOLDERS = ("regions", "labels", "maps", "attention")
LISTED = 50  # images that the log names one by one; of more it says now and then how many are done
# The principal components are computed from so many images at most, spread evenly over all, with so
# many patches: the features of these are in memory at once, some hundred megabytes.
FITTED, FITTED_PATCHES = 16, 65_536


class Seen(NamedTuple):
    """An image as the model sees it. size: its own pixels (height, width). grid: of patches.
    sets: of `map_sets`."""

    image: np.ndarray
    size: tuple[int, int]
    grid: tuple[int, int]
    features: Features
    sets: list[MapSet]


class Drawn(NamedTuple):
    """images: how many are drawn. left_out: a line for each image that cannot be read. ended: what
    ended this early, to be raised when the folder is in its place; else None."""

    images: int
    left_out: list[str]
    ended: BaseException | None


def draw(
    backbone: Backbone,
    images: Sequence[tuple[str, Path]],
    folder: Path,
    *,
    top_k: int | None,
    resolution: int,
    skip_broken: bool = False,
) -> Drawn:
    """Writes into a folder, for each (name, file) of an image:

    - regions/NAME.png: the image, its K regions, the principal components of its patches;
    - labels/NAME.png: the regions as ids, at the image's own size (a palette colours them);
    - maps/NAME.png: the K best registers, or all heads of a ViT: where each is strong;
    - attention/NAME.png: attention to the patches, every head's;

    and index.html with all images, or several such pages; and left_out.txt if images were left out.
    If anything ends this early, after the first image (a broken image, Ctrl-C, a full disk, too
    little memory), the pages are still written, for the images that are drawn.

    top_k: K; None for 8, or as many as there are, and for all heads of a ViT. resolution: see
    `images.resized`. skip_broken: leave out files that cannot be read.

    Raises:
      UserError: a file is no image, or K is above what the model has, or whatever else ends this
        before the first image is drawn.
    """
    left_out = LeftOut(skip_broken=skip_broken)
    look = _looking(backbone, resolution)
    side = max(resolution // backbone.options["patch"], 1)
    count = min(max(FITTED_PATCHES // side**2, 1), FITTED)
    seen, k = _first_look(look, images, left_out, count=count, top_k=top_k)
    components = principal_components([one.features.patches[0] for one in seen.values()])
    sets = next(iter(seen.values())).sets
    about = {"origin": backbone.origin, "sets": sets, "top_k": k, "pca": str(components)}
    pages = Pages(folder, **about)
    stems, progress = file_names([name for name, _ in images]), Progress("drawn", len(images))
    drawn, ended = 0, None
    try:
        for i, (name, path) in enumerate(images):
            name = printable(name)
            try:
                one = seen.pop(i) if i in seen else look(path)
            except BrokenImage as error:
                left_out.add(error)
            else:
                if len(images) <= LISTED:
                    height, width = one.grid
                    say(f"image {i + 1} of {len(images)}: {name}, {height} x {width} patches")
                colours = components.colours(one.features.patches[0])
                _draw_image(one, name, colours, folder, stems[i], k, backbone.options, components)
                shown = {"grid": one.grid, "pca": colours}
                pages.add(page_image(name, one.image, one.sets, **shown))
                drawn += 1
            progress.add(1)
    except BaseException as error:
        if not drawn:
            raise
        ended = error
        for kind in FOLDERS:
            (folder / kind / f"{stems[i]}.png").unlink(missing_ok=True)
    _close(pages, folder, drawn, len(images), left_out.lines, ended)
    if isinstance(ended, OSError):  # reading raises BrokenImage
        ended = UserError(f"--output cannot be written ({ended.strerror or ended})")
    return Drawn(drawn, left_out.lines, ended)


def _looking(backbone: Backbone, resolution: int) -> Callable[[Path], Seen]:
    """From an image's file to what the model sees in it. It raises BrokenImage, and UserError where
    the memory is too small."""
    patch, options = backbone.options["patch"], backbone.options
    # The layer that attends to the patches.
    layer = 0 if options["architecture"] == "perceiver" else options["depth"] - 1
    features_of = backbone.looking((layer,))

    def look(path: Path) -> Seen:
        image = read_image(path)
        size = image.shape[:2]
        image = resized(image, resolution=resolution, patch=patch)
        grid = (image.shape[0] // patch, image.shape[1] // patch)
        try:
            features = jax.device_get(features_of(image[None]))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                f"{printable(str(path))} needs more memory at --resolution={resolution} than there "
                "is: choose a smaller one"
            ) from error
        return Seen(image, size, grid, features, map_sets(features, options, grid=grid))

    return look


def _first_look(
    look: Callable[[Path], Seen],
    images: Sequence[tuple[str, Path]],
    left_out: LeftOut,
    *,
    count: int,
    top_k: int | None,
) -> tuple[dict[int, Seen], int]:
    """Images spread evenly over all, or the first that can be read where none of these can; by
    index. And K."""
    chosen = spread(len(images), count)
    say(f"looking at {len(chosen)} of {len(images):,} images, for their principal components")
    seen: dict[int, Seen] = {}
    progress = Progress("looked at", len(chosen))
    for place, i in enumerate([*chosen, *range(len(images))]):
        if seen and place >= len(chosen):
            break
        try:
            seen[i] = look(images[i][1])
        except BrokenImage as error:
            left_out.add(error)
        else:
            k = _checked_k(top_k, seen[i].sets[0])
            progress.add(1)
    if not seen:
        raise UserError(f"none of {len(images):,} images can be read; {left_out.lines[0]}")
    return seen, k


def _checked_k(top_k: int | None, maps: MapSet) -> int:
    count = len(maps.maps)
    if top_k is None:
        return count if maps.unit == "heads" else min(USUAL_K, count)
    if not 1 <= top_k <= count:
        raise UserError(f"--top_k={top_k}: the model has {count} {maps.unit}; choose 1 to {count}")
    return top_k


def _close(
    pages: Pages,
    folder: Path,
    drawn: int,
    total: int,
    left_out: Sequence[str],
    ended: BaseException | None,
) -> None:
    """Completes the folder. A second Ctrl-C is ignored meanwhile: it would lose everything."""
    note = f"{drawn:,} of {total:,} images are drawn" if ended or left_out else ""
    note += f"; {len(left_out):,} cannot be read" if left_out else ""
    note += "; drawing ended early" if ended else ""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pages.close(note)
        if left_out:
            (folder / "left_out.txt").write_text("".join(f"{line}\n" for line in left_out))
    except OSError:
        if not ended:
            raise
    finally:
        signal.signal(signal.SIGINT, before)


def _draw_image(
    one: Seen,
    name: str,
    colours: np.ndarray,
    folder: Path,
    stem: str,
    k: int,
    options: dict,
    components: Components,
) -> None:
    best = one.sets[0]
    labels = best.regions(k)
    _save_labels(labels, best, one.size, folder / "labels" / f"{stem}.png")
    save_png(_maps_sheet(one, k), folder / "maps" / f"{stem}.png")
    save_png(_attention_sheet(one, options), folder / "attention" / f"{stem}.png")
    regions = f"regions of the best {k} {best.unit}"
    if (lead := best.lead(k, one.grid)) is not None:
        regions += f", ahead by {lead:.2g} (median)"
    cells = [
        ("image", one.image),
        (regions, _painted(labels, best, one.image)),
        (
            f"principal components of patches: {components}",
            over(colours.reshape(*one.grid, 3), one.image, alpha=1),
        ),
    ]
    save_png(sheet([(name, cells)], side=384), folder / "regions" / f"{stem}.png")


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
    if labels.max() > 255:
        picture = Image.fromarray(resize_labels(labels.astype(np.uint16), size))
    else:
        picture = Image.fromarray(resize_labels(labels.astype(np.uint8), size)).convert("P")
        picture.putpalette(register_colours(maps.kept[:256]).tobytes())
    save_png(picture, path)


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


def _attention_sheet(one: Seen, options: dict) -> Image.Image:
    drawn: list[tuple[str, list[Cell]]] = [("attention to the patches", [("", one.image)])]
    for title, maps in attention_rows(one.features, options):
        cells = [
            (f"{label}: {value_range(values)}", heat(values.reshape(one.grid), ATTENTION))
            for label, values in maps
        ]
        drawn.append((title, cells))
    return sheet(drawn, side=96, scale=ATTENTION)
