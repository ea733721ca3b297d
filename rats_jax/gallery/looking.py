"""Computes what a backbone sees in an image file, and in images spread evenly over many."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.data.reading import LeftOut
from rats_jax.device_failures import is_out_of_memory
from rats_jax.errors import BrokenImage, UserError
from rats_jax.gallery.finding import spread
from rats_jax.gallery.images import read_image, resized
from rats_jax.gallery.maps import MapSet, map_sets
from rats_jax.models import Features
from rats_jax.parts.dictionary.detectors import layers_needed
from rats_jax.parts.dictionary.part_maps import Assigned, assign
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.paths import printable
from rats_jax.progress import Progress
from rats_jax.voice import say

# The principal components are computed from at most FITTED images, spread evenly over all, with
# FITTED_PATCHES patches in total. Their features are in memory at once, a few hundred megabytes.
FITTED, FITTED_PATCHES = 16, 65_536


class Seen(NamedTuple):
    """An image as the model sees it. size: the original (height, width) in pixels. grid: (height,
    width) in patches. sets: as `map_sets` returns them. assigned: the entries of its detectors, if
    there is a dictionary."""

    image: np.ndarray
    size: tuple[int, int]
    grid: tuple[int, int]
    features: Features
    sets: list[MapSet]
    assigned: Assigned | None = None


Look = Callable[[Path], Seen]


def looking(backbone: Backbone, *, resolution: int, dictionary: Dictionary | None = None) -> Look:
    """The function from an image file to what the model sees in it. It raises BrokenImage, and
    UserError if there is too little memory."""
    options = backbone.options
    layers = layers_needed(options, norm=dictionary.norm)["layers_of"] if dictionary else ()
    patch, features_of = options.patch, backbone.looking((options.attended_layer,), layers)

    def look(path: Path) -> Seen:
        image = read_image(path)
        size = image.shape[:2]
        image = resized(image, resolution=resolution, patch=patch)
        grid = (image.shape[0] // patch, image.shape[1] // patch)
        try:
            features = jax.device_get(features_of(image[None]))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"{printable(str(path))} needs more memory at --resolution={resolution} than is "
                "available: choose a smaller resolution"
            ) from error
        assigned = assign(features, options, dictionary, grid=grid) if dictionary else None
        return Seen(image, size, grid, features, map_sets(features, options, grid=grid), assigned)

    return look


def fitted_images(*, resolution: int, patch: int) -> int:
    """The largest number of images that the principal components are computed from."""
    side = max(resolution // patch, 1)
    return min(max(FITTED_PATCHES // side**2, 1), FITTED)


def first_look(
    look: Look,
    images: Sequence[tuple[str, Path]],
    left_out: LeftOut,
    *,
    count: int,
) -> dict[int, Seen]:
    """Looks at images spread evenly over all. Returns them by index.

    count: the largest number of images. Images that cannot be read are left out. If none of the
    chosen images can be read, the first readable one of all images is used.

    Raises:
      UserError: no image can be read, or one cannot that may not be left out.
    """
    chosen = spread(len(images), count)
    say(f"computing principal components from {len(chosen)} of {len(images):,} images")
    seen: dict[int, Seen] = {}
    progress = Progress("principal components", len(chosen))
    for place, i in enumerate([*chosen, *range(len(images))]):
        if seen and place >= len(chosen):
            break
        try:
            seen[i] = look(images[i][1])
        except BrokenImage as error:
            left_out.add(error)
        if place < len(chosen):
            progress.add(1)
    if not seen:
        raise UserError(f"none of {len(images):,} images can be read; {left_out.lines[0]}")
    return seen
