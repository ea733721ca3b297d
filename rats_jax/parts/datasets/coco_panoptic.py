"""COCO's panoptic maps: a PNG of segment ids for each image, and one JSON describing the ids."""

from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.datasets.coco_files import CocoFiles, CocoImage, open_coco
from rats_jax.parts.datasets.coco_images import ImageFinder, without_ending
from rats_jax.parts.datasets.coco_values import identity, is_crowd
from rats_jax.parts.datasets.id_files import PICTURES, read_rgb_ids
from rats_jax.parts.datasets.part_dataset import VOID, Entry, Labels, PartDataset, Sizes


class _Segments(NamedTuple):
    file: Path
    names: dict[int, str]
    crowds: frozenset[int]
    categories: dict[int, Hashable]


def open_coco_panoptic(path: Path, *, categories: bool = False) -> PartDataset:
    """`annotations/panoptic_SPLIT.json`, its PNG files in `panoptic_SPLIT/` next to it or next to
    `annotations`, and `SPLIT/*.jpg`.

    Crowds are void (our choice), because panoptic quality ignores them too.

    categories: the ids are those of categories, the same in every image, instead of segments.
    """
    files = open_coco(path, "panoptic")
    stem = f"panoptic_{files.split}"
    folders = [files.root / stem, files.file.parent / stem, files.file.with_suffix("")]
    pngs = next((folder for folder in folders if folder.is_dir()), None)
    if pngs is None:
        raise UserError(
            f"{files.file} has no folder {folders[0]} of PNG files; unpack {stem}.zip there"
        )
    finder = ImageFinder([pngs])
    entries = [
        entry
        for id, image in files.images.items()
        if (entry := _entry(files, finder, image, files.annotations.get(id, []), pngs))
    ]
    segments = [entry.details for entry in entries if entry.details]
    if not entries:
        counts = "".join(f"; {count:,} {why}" for why, count in files.left_out.items())
        raise UserError(f"{files.file} annotates no segment{counts}; download it again")
    return PartDataset(
        name=f"coco-panoptic-{files.split}",
        flattening="the category of each segment; pixels in no segment and crowds are void"
        if categories
        else "each segment id R + 256 G + 65536 B is a region; 0 and crowds are void",
        entries=sorted(entries, key=lambda entry: entry.name),
        read_mask=read_categories if categories else read_segments,
        classes=_classes(files) if categories else None,
        notes=files.notes(
            crowds=sum(len(of_image.crowds) for of_image in segments),
            of=sum(len(of_image.names) for of_image in segments),
            what="segments",
        ),
    )


def read_segments(entry: Entry, _: Sizes) -> Labels:
    """The ids in the PNG, with VOID for void pixels."""
    truth, ids = entry.details, read_rgb_ids(entry.mask)
    present, places = np.unique(ids, return_inverse=True)
    unknown = [int(id) for id in present if id and int(id) not in truth.names]
    if unknown:
        raise UserError(
            f"{entry.mask} holds segment id {unknown[0]}, which {truth.file} does not list for "
            "it; download both again, from the same split"
        )
    void = [not id or int(id) in truth.crowds for id in present]
    present = np.where(void, VOID, present)
    return Labels(present[places].reshape(ids.shape), truth.names)


def read_categories(entry: Entry, sizes: Sizes) -> Labels:
    """The category of each pixel's segment, or VOID."""
    segments, of = read_segments(entry, sizes).ids, entry.details.categories
    present, places = np.unique(segments, return_inverse=True)
    for id in present:
        if id != VOID and of[int(id)] is None:
            raise UserError(
                f"{entry.details.file}: segment {id} of {entry.name} has no category; download it "
                "again"
            )
    ids = np.array([VOID if id == VOID else of[int(id)] for id in present], np.int64)
    return Labels(ids[places].reshape(segments.shape), {})


def _classes(files: CocoFiles) -> dict[int, str]:
    if not files.categories or not all(isinstance(id, int) for id in files.categories):
        raise UserError(
            f"{files.file} has no categories whose ids are numbers; add them, as COCO's files do"
        )
    return {id: name for id, name in files.categories.items() if isinstance(id, int)}


def _entry(
    files: CocoFiles, finder: ImageFinder, image: CocoImage, annotations: list[dict], pngs: Path
) -> Entry | None:
    """The entry of an image; None if its annotation cannot be used."""
    name = image.name
    if not annotations:
        fault = f"{files.file} lists {name} without an annotation; add one, or remove the image"
        return Entry(name, fault=fault)
    annotation, *more = annotations
    if more:
        files.left_out["further annotations of an image"] += len(more)
    segments = annotation.get("segments_info")
    if not isinstance(segments, list):
        files.left_out["images without segments_info"] += 1
        return None
    names, crowds, categories = {}, [], {}
    for segment in segments:
        segment = segment if isinstance(segment, dict) else {}
        id, crowd = identity(segment.get("id")), is_crowd(segment)
        category = identity(segment.get("category_id"))
        if id is None or crowd is None:
            files.left_out["images with a segment without an id, or with an invalid iscrowd"] += 1
            return None
        if category is not None and files.categories and category not in files.categories:
            fault = (
                f"{files.file}: segment {id} of {name} has category {category}, which its "
                "categories do not list; download the file again"
            )
            return Entry(name, fault=fault)
        names[id], categories[id] = files.categories.get(category, ""), category
        if crowd:
            crowds.append(id)
    given = annotation.get("file_name")
    given = given if isinstance(given, str) and given else Path(name).name
    if not given.lower().endswith(tuple(PICTURES)):  # such as the image's name
        given = f"{without_ending(given)}.png"
    png = finder.find(given) or finder.find_alike(given) or pngs / given
    details = _Segments(files.file, names, frozenset(crowds), categories)
    return Entry(name, image.path, png, details=details)
