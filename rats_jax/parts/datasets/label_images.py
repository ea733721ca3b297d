"""Data sets with one file of ids per image: any folder, ADE20K, ImageNet-S, PartImageNet."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rats_jax.data.sources import top_folder
from rats_jax.errors import UserError
from rats_jax.parts.datasets.id_files import read_ids, read_rgb_ids
from rats_jax.parts.datasets.json_file import read_json
from rats_jax.parts.datasets.pairing import find_folders, pair
from rats_jax.parts.datasets.part_dataset import VOID, Entry, Labels, PartDataset, Sizes, read_bytes

_ADE20K_LAST, _IMAGENET_S_LAST, _IMAGENET_S_IGNORE, _PARTIMAGENET_BACKGROUND = 150, 919, 1000, 40


def open_folder(path: Path) -> PartDataset:
    """`images/*.jpg` (or PNG, WebP) and `masks/*.png` (8 or 16 bits), also in folders below.

    A mask may also be TIFF, BMP, .npy or .npz. The group is the first folder below `images`.
    """
    root, images, masks, _ = find_folders(path, images="images", masks="masks")
    return PartDataset(
        name=root.name,
        flattening="every id in masks/*.png is a region, 0 as well; nothing is void",
        entries=pair(images, masks, group=lambda name: top_folder(name) or None),
        read_mask=read_label_image,
    )


def open_ade20k(path: Path) -> PartDataset:
    """ADEChallengeData2016: `images/SPLIT/*.jpg`, `annotations/SPLIT/*.png`.

    The group is the scene, from `sceneCategories.txt`; names of ids are in `objectInfo150.txt`.
    """
    root, images, masks, split = find_folders(
        path, images="images/{split}", masks="annotations/{split}", split="validation"
    )
    scenes = dict(_fields(root / "sceneCategories.txt", r"(\S+)\s+(\S+)\s*"))
    named = _fields(root / "objectInfo150.txt", r"(\d+)\t.*\t([^\t]+)")
    names = {int(id): name.strip() for id, name in named}
    return PartDataset(
        name=f"ade20k-{split}",
        flattening="each of ids 1 to 150 is a region; 0 is void",
        entries=pair(images, masks, group=lambda name: scenes.get(Path(name).stem)),
        read_mask=partial(
            read_label_image,
            void=0,
            last=_ADE20K_LAST,
            labels=names,
        ),
        classes={id: names.get(id, str(id)) for id in range(1, _ADE20K_LAST + 1)},
    )


def open_imagenet_s(path: Path) -> PartDataset:
    """ImageNetS50, 300 or 919: `SPLIT/WNID/*.JPEG`, `SPLIT-segmentation/WNID/*.png`.

    The group is the WordNet id.
    """
    _, images, masks, split = find_folders(
        path, images="{split}", masks="{split}-segmentation", split="validation"
    )
    return PartDataset(
        name=f"imagenet-s-{split}",
        flattening="each id R + 256 G is a region, 0 (other) as well; 1000 is void",
        entries=pair(images, masks, group=lambda name: top_folder(name) or None),
        read_mask=partial(
            read_label_image, rgb=True, void=_IMAGENET_S_IGNORE, last=_IMAGENET_S_LAST
        ),
    )


def open_partimagenet(path: Path) -> PartDataset:
    """PartImageNet_Seg: `images/SPLIT/*.JPEG`, `annotations/SPLIT/*.png`; SPLIT is val if the path
    is the root.

    The group is the WordNet id before the file name's underscore. Names of ids are in
    `annotations/SPLIT/SPLIT.json` or `annotations/SPLIT.json`.
    """
    _, images, masks, split = find_folders(
        path, images="images/{split}", masks="annotations/{split}", split="val"
    )
    labels = {_PARTIMAGENET_BACKGROUND: "background"}
    for file in (masks / f"{split}.json", masks.with_name(f"{split}.json")):
        if file.exists():
            try:
                labels |= {c["id"]: c["name"] for c in read_json(file)["categories"]}
            except (KeyError, TypeError) as error:
                raise UserError(
                    f"{file} has no categories in the layout of COCO; download it again"
                ) from error
            break
    return PartDataset(
        name=f"partimagenet-{split}",
        flattening="each of parts 0 to 39 is a region, and the background (40); nothing is void",
        entries=pair(images, masks, group=lambda name: Path(name).name.split("_")[0]),
        read_mask=partial(read_label_image, last=_PARTIMAGENET_BACKGROUND, labels=labels),
        background=_PARTIMAGENET_BACKGROUND,
        classes={id: labels.get(id, str(id)) for id in range(_PARTIMAGENET_BACKGROUND + 1)},
    )


def read_label_image(
    entry: Entry,
    _: Sizes,
    *,
    rgb: bool = False,
    void: int | None = None,
    last: int | None = None,
    labels: Mapping[int, str] | None = None,
) -> Labels:
    """The ids in a file, with VOID for the id `void`; UserError if an id is above `last`."""
    ids = read_rgb_ids(entry.mask) if rgb else read_ids(entry.mask)
    ignored = ids == void if void is not None else np.zeros(ids.shape, bool)
    if last is not None and (unknown := ids[(ids > last) & ~ignored]).size:
        raise UserError(
            f"{entry.mask} holds id {unknown[0]}, but the largest id of this data set is {last}; "
            "download the mask again, or read the data set as folder:PATH"
        )
    return Labels(np.where(ignored, VOID, ids), labels or {})


def _fields(path: Path, pattern: str) -> list[tuple[str, str]]:
    """Two fields of each line that matches; none if there is no such file."""
    if not path.exists():
        return []
    lines = read_bytes(path).decode(errors="replace").splitlines()
    return [match.groups() for line in lines if (match := re.fullmatch(pattern, line))]
