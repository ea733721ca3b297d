"""Instances from COCO's files: the mask of each object, which may overlap, and crowds."""

import pickle
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.datasets import exif
from rats_jax.parts.datasets.coco_files import CocoFiles, open_coco
from rats_jax.parts.datasets.coco_instances import CocoObject, objects_of
from rats_jax.parts.datasets.part_dataset import (
    Entry,
    Size,
    Sizes,
    different_sizes,
    drawn_on,
    read_image,
)
from rats_jax.parts.datasets.segmentation import decode_all, size_among
from rats_jax.segmentation.class_choice import shown
from rats_jax.segmentation.image_size import size_of
from rats_jax.segmentation.interface import Segmented


class _Annotated(NamedTuple):
    """size: of the image, from the file. single: the number of objects that are no crowds. objects:
    a packed list of (name, segmentation), with the categories and crowds of these. Workers receive
    a copy of all annotations, and packed they take a tenth of the memory of lists of numbers."""

    size: Size | None
    single: int
    objects: bytes


@dataclass(frozen=True)
class CocoObjects:
    """The images of an annotation file.

    Attributes:
      entries: one for each image, sorted by name.
    """

    entries: Sequence[Entry]

    @cached_property
    def names(self) -> Sequence[str]:
        return [entry.name for entry in self.entries]

    @property
    def identities(self) -> set:
        return {entry.image.resolve() for entry in self.entries if entry.image}

    @property
    def world(self) -> str:
        return ""

    def size(self, i: int) -> Size | None:
        return size_of(self.entries[i])

    def subset(self, indices: Sequence[int]) -> "CocoObjects":
        return replace(self, entries=[self.entries[i] for i in indices])

    def annotated(self) -> Sequence[int]:
        """The images with an object that is no crowd."""
        return [i for i, entry in enumerate(self.entries) if entry.details.single]

    def read(self, i: int) -> Segmented:
        entry = self.entries[i]
        image, orientation, sizes = read_image(entry)
        segmentations, places, crowds = pickle.loads(zlib.decompress(entry.details.objects))
        masks = _masks(entry, segmentations, orientation, sizes)
        return Segmented(
            image, None, masks, np.array(places, np.int16), np.array(crowds, bool), entry.name
        )


def open_coco_objects(path: Path) -> CocoFiles:
    """`annotations/instances_SPLIT.json` and `SPLIT/*.jpg`, checked to have categories.

    Raises:
      UserError: it has none, or their ids are no numbers.
    """
    files = open_coco(path, "instances")
    if not files.categories:
        raise UserError(
            f"{files.file} lists no categories; add them: a list of id and name, as in COCO's files"
        )
    if odd := next((id for id in files.categories if not isinstance(id, int)), None):
        raise UserError(f"{files.file}: category id {odd!r} is no number; number the categories")
    return files


def objects_of_classes(files: CocoFiles, ids: Sequence[int]) -> tuple[CocoObjects, list[str]]:
    """The images with their objects of these categories, and notes on the annotations. Images
    without an object are kept. Raises UserError for annotations that cannot be used."""
    places = {id: place for place, id in enumerate(ids)}
    entries, crowds, count = [], 0, 0
    for id, image in files.images.items():
        objects = objects_of(files, files.annotations.pop(id, []))
        _check_categories(files, objects, image.name)
        objects = [thing for thing in objects if thing.category in places]
        crowds += (of_crowds := sum(thing.crowd for thing in objects))
        count += len(objects)
        details = _Annotated(image.size, len(objects) - of_crowds, _packed(objects, places))
        entries.append(Entry(image.name, image.path, files.file, details=details))
    if not count:
        listed = "".join(f"; {number:,} {why}" for why, number in files.left_out.items())
        raise UserError(
            f"{files.file} annotates no object with a mask of classes {shown(ids)}{listed}; give "
            "a split with annotations, or other config.data.classes"
        )
    notes = files.notes(crowds=crowds, of=count, what="objects")
    return CocoObjects(sorted(entries, key=lambda entry: entry.name)), notes


def _check_categories(files: CocoFiles, objects: Sequence[CocoObject], image: str) -> None:
    """Raises UserError for an object of an image whose category is not listed."""
    for thing in objects:
        if thing.category not in files.categories:
            raise UserError(
                f"{files.file}: annotation {thing.id} of {image} has category {thing.category}, "
                "which its categories do not list; add the category, or remove the annotation"
            )


def _packed(objects: Sequence[CocoObject], places: Mapping[Any, int]) -> bytes:
    segmentations = [(f"annotation {thing.id}", thing.segmentation) for thing in objects]
    content = (
        segmentations,
        [places[thing.category] for thing in objects],
        [thing.crowd for thing in objects],
    )
    return zlib.compress(pickle.dumps(content), 1)


def _masks(
    entry: Entry, segmentations: Sequence[tuple[str, Any]], orientation: int, sizes: Sizes
) -> np.ndarray:
    """bool [M, h, w], upright."""
    assert entry.mask is not None, "the annotation file"
    size, sized = entry.details.size, True
    if size is None:
        size, sized = size_among(entry, (of for _, of in segmentations), sizes)
    if size not in sizes:
        said = f"{entry.mask} says that {entry.name} is"
        raise UserError(different_sizes(entry, said, size, sizes))
    masks = np.zeros((len(segmentations), *sizes.upright), bool)
    turned = drawn_on(orientation, size, sizes, sized) == "stored"
    for place, mask in enumerate(decode_all(entry.mask, segmentations, size)):
        masks[place] = exif.upright(mask, orientation) if turned else mask
    return masks
