"""COCO's instances, or any set in that format: polygons and RLE in one JSON."""

from pathlib import Path
from typing import Any, NamedTuple

from rats_jax.errors import UserError
from rats_jax.evals.datasets.coco_files import MALFORMED, CocoFiles, not_coco, open_coco
from rats_jax.evals.datasets.part_dataset import VOID, Entry, Labels, PartDataset, Size
from rats_jax.evals.datasets.segmentation import decode_all, smallest_on_top


class _Object(NamedTuple):
    id: int
    category: int
    crowd: bool
    segmentation: Any


class _Instances(NamedTuple):
    size: Size  # of the image, as the file says
    objects: list[_Object]
    categories: dict[int, str]


def open_coco_instances(path: Path) -> PartDataset:
    """`annotations/instances_SPLIT.json` and `SPLIT/*.jpg`.

    Uncovered pixels are a region of their own (chosen): if they were void, an image of one object
    would give M2O 1 to any prediction. Crowds, of unknown many objects, are void (chosen).
    """
    files = open_coco(path, "instances")
    try:
        entries = [_entry(files, image) for image in files.annotations]
    except MALFORMED as error:
        raise UserError(not_coco(files.file, error)) from error
    if not entries:
        raise UserError(f"{files.file} annotates no object; give a split with annotations")
    bare = len(files.images.keys() - files.annotations.keys())
    return PartDataset(
        name=f"coco-instances-{files.split}",
        flattening="each object is a region; where they overlap, the smallest (in pixels) is on "
        "top, of equal ones the later; pixels in no object are background, region 0; crowds are "
        f"void where no object is; {bare} images without an annotation are left out",
        entries=sorted(entries, key=lambda entry: entry.name),
        read_mask=read_instances,
    )


def read_instances(entry: Entry, size: Size) -> Labels:
    """int32 [h, w]: 0, or 1 + the place of the object, or VOID."""
    truth = entry.details
    if truth.size != size:
        raise UserError(
            f"{entry.mask} says that {entry.name} is {truth.size[1]} x {truth.size[0]} pixels, and "
            f"{entry.image} is {size[1]} x {size[0]}; give the images that were annotated"
        )
    labels, things, crowds = {0: "background"}, [], []
    for id, category, crowd, segmentation in truth.objects:
        if category not in truth.categories:
            raise UserError(
                f"{entry.mask}: annotation {id} has category {category}, which its categories do "
                "not list; get the file again"
            )
        (crowds if crowd else things).append((f"annotation {id}", segmentation))
        if not crowd:
            labels[len(things)] = truth.categories[category]
    mask = smallest_on_top(decode_all(entry.mask, things, size), size)
    for crowd in decode_all(entry.mask, crowds, size):
        mask[crowd & (mask == 0)] = VOID
    return mask, labels


def _entry(files: CocoFiles, image: int) -> Entry:
    if image not in files.images:
        return Entry(f"image id {image}", fault=files.unlisted(image))
    name, size = files.images[image]
    objects = [
        _Object(int(a["id"]), int(a["category_id"]), bool(a.get("iscrowd")), a["segmentation"])
        for a in files.annotations[image]
    ]
    details = _Instances(size, objects, files.categories)
    return Entry(name, files.folder / name, files.file, details=details)
