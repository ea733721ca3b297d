"""Whether the masks of a data set can distinguish methods: counts, and warnings if they hardly can.

If an image has one region, every method gets M2O 1. Causes of such masks are a wrong void id,
objects that are all crowds, only one mask per image, and a palette that was lost.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID, Labelled
from rats_jax.parts.region_metrics import positions

_LITTLE = 0.01  # the share of pixels below which hardly anything is labelled
_THIN = 8  # this many regions without an inner pixel are not an accident


class Truth(NamedTuple):
    """Counts for one image, or sums over images.

    regions: number of regions in the masks, without void. void_share: share of void pixels. The
    others count images. all_void: without a labelled pixel. single: with one region. little: with
    fewer than 1 % of their pixels labelled. thin: most of whose regions are lines or specks,
    without a pixel whose four neighbours are in the same region. exif_...: rotated by EXIF, by the
    pixels that the mask was drawn on, see `Labelled`.
    """

    images: int
    regions: int
    void_share: float
    all_void: int
    single: int
    little: int
    thin: int
    exif_stored: int
    exif_upright: int
    exif_either: int


def truth_of(sample: Labelled) -> Truth:
    """The counts for one image."""
    mask = sample.mask
    places, ids = positions(mask.ravel())
    span = len(ids)
    pixels = np.bincount(places, minlength=span)
    inner = np.bincount(places.reshape(mask.shape)[1:-1, 1:-1][_inside(mask)], minlength=span)
    void = 0
    if mask.min() == VOID:  # the lowest id
        void, pixels[0] = int(pixels[0]), 0
    regions, share = int(np.count_nonzero(pixels)), void / mask.size
    thin = int(np.count_nonzero((pixels > 0) & (inner == 0)))
    drawn_on = [sample.drawn_on == where for where in ("stored", "upright", "either")]
    return Truth(
        1,
        regions,
        share,
        int(regions == 0),
        int(regions == 1),
        int(0 < 1 - share < _LITTLE),
        int(thin >= _THIN and 2 * thin > regions),
        *map(int, drawn_on),
    )


def total(truths: Iterable[Truth]) -> Truth:
    """The sums over images."""
    return Truth(*map(sum, zip((0,) * len(Truth._fields), *truths, strict=True)))


def check(truth: Truth, *, of: str) -> None:
    """Raises UserError if no mask of the data set `of` can distinguish methods."""
    if truth.images == truth.all_void:
        raise UserError(f"no image of {of} has a labelled pixel to score: all are void")
    if truth.images == truth.all_void + truth.single:
        raise UserError(
            f"no image of {of} has two regions to distinguish ({truth.single:,} have one, "
            f"{truth.all_void:,} are void): every method would score M2O 100; check the masks, "
            "their ids and the kind of the data set"
        )


def report(truth: Truth) -> list[str]:
    """The lines that are printed and recorded about the scored masks; those that a user should look
    at begin with "warning: "."""
    n = truth.images
    lines = [
        f"{n:,} masks of {truth.regions / n:.1f} regions on average, "
        f"{100 * truth.void_share / n:.1f} % of the pixels void"
    ]
    warnings = {
        "have no labelled pixel and are not scored": truth.all_void,
        "have a single region, so that every method gets M2O 100 for them": truth.single,
        "have fewer than 1 % of their pixels labelled: check which id is void": truth.little,
        "have masks that consist mostly of lines and specks, as after resizing with interpolation "
        "or saving as JPEG: make them again with nearest neighbour, as PNG": truth.thin,
    }
    lines += [
        f"warning: {count:,} of {n:,} images {what}" for what, count in warnings.items() if count
    ]
    return lines + _report_exif(truth)


def _report_exif(truth: Truth) -> list[str]:
    stored, upright, either = truth.exif_stored, truth.exif_upright, truth.exif_either
    lines = []
    if stored or upright:
        lines.append(
            f"EXIF rotates {stored + upright:,} images by 90 degrees: {upright:,} masks have the "
            f"upright size, and {stored:,} have the size of the stored pixels and were rotated "
            "like the image"
        )
    if either:
        likely = " (and those of the other images were)" if stored and not upright else ""
        lines.append(
            f"warning: EXIF turns {either:,} images, and their masks do not show whether they "
            "were turned as well (the size does not change, or polygons without a size fit both "
            "ways); masks of the upright images are assumed; if the masks were made on the stored "
            f"pixels, as PIL opens them{likely}, remove the orientation from the images with "
            "exiftool -Orientation= FILES"
        )
    return lines


def _inside(mask: np.ndarray) -> np.ndarray:
    """Bool [h - 2, w - 2]: inner pixels whose four neighbours have the same id."""
    middle = mask[1:-1, 1:-1]
    sides = (mask[:-2, 1:-1], mask[2:, 1:-1], mask[1:-1, :-2], mask[1:-1, 2:])
    return np.logical_and.reduce([middle == side for side in sides])
