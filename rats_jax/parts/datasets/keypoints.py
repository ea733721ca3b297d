"""Keypoints of birds as points: CUB-200-2011 and NABirds, which have the same files."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.data.sources import top_folder
from rats_jax.errors import UserError
from rats_jax.parts.datasets.part_dataset import (
    VOID,
    Entry,
    Labels,
    PartDataset,
    Size,
    Sizes,
    different_sizes,
    read_bytes,
)

SPLITS = "train", "test"


class _Points(NamedTuple):
    """points: (part, x, y) of the visible keypoints. size: of the image, if the files have it."""

    points: list[tuple[int, float, float]]
    size: Size | None


def open_cub(path: Path) -> PartDataset:
    """The folder CUB_200_2011, see `_open`."""
    return _open(path, "cub", "CUB_200_2011")


def open_nabirds(path: Path) -> PartDataset:
    """The folder nabirds, see `_open`."""
    return _open(path, "nabirds", "nabirds")


def _open(path: Path, kind: str, folder: str) -> PartDataset:
    """`images/`, `images.txt`, `train_test_split.txt`, `parts/parts.txt`, `parts/part_locs.txt`; in
    NABirds also `sizes.txt`. PATH/train and PATH/test are the splits; the root is both.

    A mask has the id of a part at the pixel of each visible keypoint, and is void elsewhere. Of two
    keypoints in one pixel, the later in the file counts. The group is the class.
    """
    root, split = (path.parent, path.name) if path.name in SPLITS else (path, None)
    if not (root / "images.txt").exists() and (root / folder / "images.txt").exists():
        root = root / folder
    names = {image: name for image, name in _rows(root / "images.txt", 2)}
    if not names:
        raise UserError(f"{root / 'images.txt'} lists no image; download it again")
    table = root / "parts" / "part_locs.txt"
    points = _visible(table, names)
    sizes = {}
    if (root / "sizes.txt").exists():
        for image, width, height in _rows(root / "sizes.txt", 3):
            sizes[image] = tuple(_whole(root / "sizes.txt", x) for x in (height, width))
    if split:
        training = dict(_rows(root / "train_test_split.txt", 2))
        names = {i: n for i, n in names.items() if training.get(i) == str(int(split == "train"))}
        if not names:
            raise UserError(f"{root / 'train_test_split.txt'} has no image of {split}")
    entries = []
    for image, name in names.items():
        if image not in points:
            fault = f"{table} has no line for image {image}, {name}; download it again"
            entries.append(Entry(name, fault=fault))
            continue
        details = _Points(points[image], sizes.get(image))
        file = root / "images" / name
        entries.append(Entry(name, file, table, top_folder(name) or None, details))
    labels = {_id(root, part): name for part, name in _rows(root / "parts" / "parts.txt", 2)}
    return PartDataset(
        name=f"{kind}-{split}" if split else kind,
        flattening="the pixel of each visible keypoint has the id of its part; of two in one "
        "pixel, the later; all other pixels are void",
        entries=sorted(entries, key=lambda entry: entry.name),
        read_mask=partial(read_points, labels=labels),
        points=True,
    )


def read_points(entry: Entry, sizes: Sizes, *, labels: Mapping[int, str]) -> Labels:
    """int32 [h, w]: ids of parts at keypoints, VOID elsewhere."""
    found: _Points = entry.details
    size = found.size or sizes.upright
    if size not in sizes:
        said = f"sizes.txt says that {entry.name} is"
        raise UserError(different_sizes(entry, said, size, sizes))
    (height, width), ids = size, np.full(size, VOID, np.int32)
    for part, x, y in found.points:
        if part not in labels:
            raise UserError(
                f"{entry.mask}: {entry.name} has a keypoint of part {part}, which parts.txt does "
                "not list; download both again"
            )
        if not (0 <= x <= width and 0 <= y <= height):  # a point on the far edge counts as inside
            raise UserError(
                f"{entry.mask}: the {labels[part]} of {entry.name} is at ({x:g}, {y:g}), outside "
                f"of its {width} x {height} pixels; download it again, or give the images of the "
                "original size"
            )
        ids[min(int(y), height - 1), min(int(x), width - 1)] = part
    return Labels(ids, labels, sized=found.size is not None)


def _visible(table: Path, names: Mapping[str, str]) -> dict[str, list[tuple[int, float, float]]]:
    """The visible keypoints of each image in the table, by the image's id."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for image, part, x, y, visible in _rows(table, 5):
        if image not in names:
            raise UserError(f"{table} has image {image}, which images.txt does not list")
        of_image = found.setdefault(image, [])
        if _number(table, visible):
            of_image.append((_whole(table, part), _number(table, x), _number(table, y)))
    return found


def _id(root: Path, part: str) -> int:
    return _whole(root / "parts" / "parts.txt", part)


def _whole(file: Path, text: str) -> int:
    number = _number(file, text)
    if number != int(number):
        raise UserError(f"{file} has {text!r} instead of a whole number; download it again")
    return int(number)


def _number(file: Path, text: str) -> float:
    try:
        number = float(text)
        if not np.isfinite(number):
            raise ValueError
        return number
    except ValueError:
        raise UserError(f"{file} has {text!r} instead of a number; download it again") from None


def _rows(file: Path, count: int) -> Iterator[list[str]]:
    """The fields of each line; the last may contain spaces."""
    for number, line in enumerate(read_bytes(file).decode(errors="replace").splitlines(), 1):
        fields = line.split(maxsplit=count - 1)
        if fields and len(fields) != count:
            raise UserError(f"{file}: line {number} has {len(fields)} fields instead of {count}")
        if fields:
            yield fields
