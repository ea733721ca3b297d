"""COCO's instances, or any data set in that format: polygons and RLE in one JSON."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple

from rats_jax.errors import UserError
from rats_jax.parts.datasets.coco_files import CocoFiles, open_coco
from rats_jax.parts.datasets.coco_values import drawn, identity, is_crowd
from rats_jax.parts.datasets.part_dataset import (
    VOID,
    Entry,
    Labels,
    PartDataset,
    Size,
    Sizes,
    different_sizes,
)
from rats_jax.parts.datasets.segmentation import decode_all, size_among, smallest_on_top


class CocoObject(NamedTuple):
    """An annotation that can be used."""

    id: Any  # for messages
    category: Hashable | None
    crowd: bool
    segmentation: Any


class _Instances(NamedTuple):
    size: Size | None  # of the image, from the file
    objects: list[CocoObject]
    categories: dict[Hashable, str]


def open_coco_instances(path: Path) -> PartDataset:
    """`annotations/instances_SPLIT.json` and `SPLIT/*.jpg`.

    Uncovered pixels are a separate region (our choice): if they were void, an image of one object
    would give M2O 1 to any prediction. Crowds, whose number of objects is unknown, are void (our
    choice). Annotations without a mask, such as those with only a box, are left out.
    """
    files = open_coco(path, "instances")
    objects = {image: objects_of(files, records) for image, records in files.annotations.items()}
    objects = {image: of_image for image, of_image in objects.items() if of_image}
    if not objects:
        counts = "".join(f"; {count:,} {why}" for why, count in files.left_out.items())
        raise UserError(
            f"{files.file} annotates no object with a mask{counts}; give a split with annotations"
        )
    entries = [
        Entry(
            files.images[image].name,
            files.images[image].path,
            files.file,
            details=_Instances(files.images[image].size, of_image, files.categories),
        )
        for image, of_image in objects.items()
    ]
    crowds = [thing.crowd for of_image in objects.values() for thing in of_image]
    bare = len(files.images) - len(entries)
    return PartDataset(
        name=f"coco-instances-{files.split}",
        flattening="each object is a region; where they overlap, the smallest (in pixels) is on "
        "top, of equal ones the later; pixels in no object are background, region 0; crowds are "
        f"void where no object is; {bare} images without an annotation are left out",
        entries=sorted(entries, key=lambda entry: entry.name),
        read_mask=read_instances,
        background=0,
        notes=files.notes(crowds=sum(crowds), of=len(crowds), what="objects"),
    )


def read_instances(entry: Entry, sizes: Sizes) -> Labels:
    """int32 [h, w] of the size in the file: 0, or 1 + the index of the object, or VOID."""
    truth = entry.details
    size, sized = truth.size, True
    if size is None:
        size, sized = size_among(entry, (thing.segmentation for thing in truth.objects), sizes)
    if size not in sizes:
        said = f"{entry.mask} says that {entry.name} is"
        raise UserError(different_sizes(entry, said, size, sizes))
    labels, things, crowds = {0: "background"}, [], []
    for id, category, crowd, segmentation in truth.objects:
        if category is not None and truth.categories and category not in truth.categories:
            raise UserError(
                f"{entry.mask}: annotation {id} has category {category}, which its categories do "
                "not list; download the file again"
            )
        (crowds if crowd else things).append((f"annotation {id}", segmentation))
        if not crowd:
            labels[len(things)] = truth.categories.get(category, "")
    mask = smallest_on_top(decode_all(entry.mask, things, size), size)
    for crowd in decode_all(entry.mask, crowds, size):
        mask[crowd & (mask == 0)] = VOID
    return Labels(mask, labels, sized)


def objects_of(files: CocoFiles, records: list[dict]) -> list[CocoObject]:
    """The annotations of an image that have a mask; the others are counted."""
    objects = []
    for record in records:
        (segmentation, strays), crowd = drawn(record.get("segmentation")), is_crowd(record)
        if strays:
            files.left_out["polygons of fewer than three points"] += strays
        if segmentation is None:
            files.left_out["annotations without a mask"] += 1
        elif crowd is None:
            files.left_out["annotations whose iscrowd is neither 0 nor 1"] += 1
        else:
            category = identity(record.get("category_id"))
            objects.append(CocoObject(record.get("id"), category, crowd, segmentation))
    return objects
