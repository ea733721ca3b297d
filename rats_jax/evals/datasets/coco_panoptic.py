"""COCO's panoptic maps: a PNG of segment ids for each image, and what they are in one JSON."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.evals.datasets.coco_files import MALFORMED, CocoFiles, not_coco, open_coco
from rats_jax.evals.datasets.part_dataset import VOID, Entry, Labels, PartDataset, Size
from rats_jax.evals.datasets.png_ids import read_rgb_ids


class _Segments(NamedTuple):
    file: Path
    names: dict[int, str]
    crowds: list[int]


def open_coco_panoptic(path: Path) -> PartDataset:
    """`annotations/panoptic_SPLIT.json`, its PNG files in `panoptic_SPLIT/` beside it or beside
    `annotations`, and `SPLIT/*.jpg`.

    Crowds are void (chosen), as they count nowhere in panoptic quality either.
    """
    files = open_coco(path, "panoptic")
    stem = f"panoptic_{files.split}"
    folders = [files.root / stem, files.file.parent / stem, files.file.with_suffix("")]
    pngs = next((folder for folder in folders if folder.is_dir()), None)
    if pngs is None:
        raise UserError(
            f"{files.file} has no folder {folders[0]} of PNG files; unpack {stem}.zip there"
        )
    try:
        entries = [
            _entry(files, pngs, image) for image in files.images.keys() | files.annotations.keys()
        ]
    except MALFORMED as error:
        raise UserError(not_coco(files.file, error)) from error
    return PartDataset(
        name=f"coco-panoptic-{files.split}",
        flattening="each segment id R + 256 G + 65536 B is a region; 0 and crowds are void",
        entries=sorted(entries, key=lambda entry: entry.name),
        read_mask=read_segments,
    )


def read_segments(entry: Entry, _: Size) -> Labels:
    """The ids of the PNG, void ones as VOID."""
    truth, ids = entry.details, read_rgb_ids(entry.mask)
    present, places = np.unique(ids, return_inverse=True)
    unknown = [int(id) for id in present if id and int(id) not in truth.names]
    if unknown:
        raise UserError(
            f"{entry.mask} holds segment id {unknown[0]}, which {truth.file} does not list for "
            "it; get both again, of one split"
        )
    present = np.where(np.isin(present, [0, *truth.crowds]), VOID, present)
    return present[places].reshape(ids.shape), truth.names


def _entry(files: CocoFiles, pngs: Path, image: int) -> Entry:
    if image not in files.images:
        return Entry(f"image id {image}", fault=files.unlisted(image))
    name = files.images[image].name
    if image not in files.annotations:
        fault = f"{files.file} lists {name} without an annotation; add one, or remove the image"
        return Entry(name, fault=fault)
    annotation = files.annotations[image][0]
    names, crowds = {}, []
    for segment in annotation["segments_info"]:
        id, category = int(segment["id"]), int(segment["category_id"])
        if category not in files.categories:
            fault = (
                f"{files.file}: segment {id} of {name} has category {category}, which "
                "its categories do not list; get the file again"
            )
            return Entry(name, fault=fault)
        names[id] = files.categories[category]
        if segment.get("iscrowd"):
            crowds.append(id)
    details = _Segments(files.file, names, crowds)
    return Entry(name, files.folder / name, pngs / annotation["file_name"], details=details)
