"""The first steps of the tasks on images with part masks: parts and consistency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from rats_jax.errors import UserError
from rats_jax.evals.request import Request, images_used

if TYPE_CHECKING:
    from rats_jax.parts.datasets import PartDataset
    from rats_jax.parts.saved_regions import SavedRegions

BACKGROUND = flags.DEFINE_integer(
    "background",
    None,
    "The id of pixels that belong to no part, by default that of the data set if it has a fixed "
    "one. --task=parts then has FG-ARI, and mBO without the background; --task=consistency also "
    "has scores over the parts alone.",
)
REGIONS = flags.DEFINE_multi_string(
    "regions",
    [],
    "NAME=DIR or DIR: label maps of any other program (PNG, npy, npz), with the names of the "
    "images. Needs no --checkpoint. For --task=consistency, an id must mean the same in every "
    "image.",
)


class Masks(NamedTuple):
    """target: the folder to make. dataset: as limited, with its background. line: what it is, and
    how many of its images are used. saved: the label maps of --regions."""

    target: Path
    dataset: PartDataset
    line: str
    saved: list[SavedRegions]


def open_masks(request: Request, *, points: bool = False) -> Masks:
    """Opens what --dataset and --regions name. Raises UserError.

    points: whether the task accepts keypoints.
    """
    from rats_jax.parts.datasets import open_dataset
    from rats_jax.parts.saved_regions import open_saved_regions
    from rats_jax.paths import local_path
    from rats_jax.results_folder import check_outside, free_folder

    request.require("the images with part masks", model=not REGIONS.value)
    target = free_folder(local_path(request.output))
    dataset = open_dataset(request.dataset, points=points).with_background(BACKGROUND.value)
    check_outside(target, dataset.folders)
    whole, dataset = len(dataset), dataset.limited(request.limit)
    names = [entry.name for entry in dataset.entries if not entry.fault]
    saved = open_saved_regions(REGIONS.value, names, skip_broken=request.skip_broken)
    line = f"{dataset.name}: {images_used(len(dataset), whole)}; {dataset.flattening}"
    return Masks(target, dataset, line, saved)


def check_background(occurs: bool) -> None:
    """Raises UserError if --background names an id that does not occur in the masks."""
    if BACKGROUND.present and not occurs:
        raise UserError(
            f"--background={BACKGROUND.value} is not an id of these masks: give the id of the "
            "pixels that belong to no part"
        )


def refuse_without_model(*flags_of_models: str) -> None:
    """Raises UserError for the first of these flags, which mean nothing without a model."""
    if flags_of_models:
        raise UserError(f"--{flags_of_models[0]} needs a model: give one with --checkpoint")
