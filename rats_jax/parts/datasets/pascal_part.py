"""PASCAL-Part: the parts of VOC 2010's objects, one MATLAB file of masks per image."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from rats_jax.data.counted import counted
from rats_jax.errors import UserError
from rats_jax.parts.datasets.part_dataset import Entry, Labels, PartDataset, Sizes, read_bytes
from rats_jax.parts.datasets.pascal_part_names import IDS, NAMES, part_id

SPLITS = "train", "val", "trainval"
_IMAGES = "JPEGImages", "VOC2010/JPEGImages", "VOCdevkit/VOC2010/JPEGImages"


def open_pascal_part(path: Path) -> PartDataset:
    """`Annotations_Part/*.mat` and VOC's `JPEGImages/*.jpg`, beside it or in `VOC2010/` or
    `VOCdevkit/VOC2010/`. PATH/train, PATH/val or PATH/trainval is a list of VOC,
    `ImageSets/Main/train.txt`; the root itself is all images with annotations.

    Parts have the ids of `pascal_part_names.IDS`, the same in every image. Left and right parts and
    numbered parts of one kind have one id. The pixels of an object in none of its parts have the id
    of its class; objects without parts have only this. Background is 0, nothing is void.
    """
    root, split = (path.parent, path.name) if path.name in SPLITS else (path, None)
    masks = root / "Annotations_Part"
    images = next((root / name for name in _IMAGES if (root / name).is_dir()), None)
    if not masks.is_dir() or images is None:
        raise UserError(
            f"{root} does not contain Annotations_Part/ and {' or '.join(_IMAGES)}; give the "
            "folder that contains both"
        )
    stems = sorted(file.stem for file in masks.glob("*.mat"))
    if not stems:
        raise UserError(f"{masks} contains no .mat file; unpack PASCAL-Part's annotations there")
    notes = []
    if split:
        chosen = _listed(images.parent / "ImageSets" / "Main" / f"{split}.txt")
        stems, without = [s for s in chosen if s in {*stems}], len({*chosen} - {*stems})
        if not stems:
            raise UserError(f"no image of {split}.txt has a .mat file in {masks}; give both as one")
        if without:
            notes = [f"without annotation, and left out: {counted(without, 'image')} of {split}"]
    return PartDataset(
        name=f"pascal-part-{split}" if split else "pascal-part",
        flattening="each part of a class is a region, left and right and numbered ones together, "
        "and the rest of an object; objects, and the parts of each, are painted in the order of "
        "the file; pixels in no object are background, region 0; nothing is void",
        entries=[Entry(f"{s}.jpg", images / f"{s}.jpg", masks / f"{s}.mat") for s in stems],
        read_mask=read_parts,
        background=0,
        classes=NAMES,
        notes=notes,
    )


def read_parts(entry: Entry, _: Sizes) -> Labels:
    """int32 [h, w] of the size of the masks."""
    objects = _structs(_annotation(entry.mask).get("objects"))
    if not objects:
        raise UserError(f"{entry.mask} has no object; download it again, or leave the image out")
    ids = None
    for thing in objects:
        category = _text(entry.mask, thing, "class")
        if ids is None:
            ids = np.zeros(_mask(entry.mask, thing).shape, np.int32)
        pieces = [(category, thing)]
        pieces += [(_named(entry.mask, category, p), p) for p in _structs(thing.get("parts"))]
        for name, piece in pieces:
            mask = _mask(entry.mask, piece)
            if mask.shape != ids.shape:
                raise UserError(
                    f"{entry.mask}: the mask of {name} has {list(mask.shape)} pixels, and others "
                    f"{list(ids.shape)}; download it again"
                )
            ids[mask] = _id(entry.mask, name)
    return Labels(ids, NAMES)


def _annotation(path: Path) -> dict:
    from scipy.io import loadmat

    content = read_bytes(path)
    try:
        found = loadmat(io.BytesIO(content), simplify_cells=True)["anno"]
        assert isinstance(found, dict)
    except Exception as error:  # of many types on damaged data
        reason = str(error).splitlines()[0] if str(error) else "another content"
        raise UserError(
            f"{path} is not an annotation of PASCAL-Part ({reason}); download it again"
        ) from error
    return found


def _structs(value: Any) -> list[dict]:
    """A struct array as scipy reads it: a struct, a list of them, or an empty array."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(path: Path, struct: dict, key: str) -> str:
    if not isinstance(value := struct.get(key), str):
        raise UserError(f"{path} has an object or a part without {key}; download it again")
    return value


def _mask(path: Path, struct: dict) -> np.ndarray:
    mask = struct.get("mask")
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise UserError(f"{path} has an object or a part without a mask; download it again")
    return mask != 0


def _named(path: Path, category: str, part: dict) -> str:
    return f"{category} {_text(path, part, 'part_name')}"


def _id(path: Path, name: str) -> int:
    if (found := part_id(name)) is None:
        raise UserError(
            f"{path} has {name!r}, which is none of the {len(IDS)} parts of PASCAL-Part; leave the "
            "image out, or write masks of ids and read them as folder:PATH"
        )
    return found


def _listed(file: Path) -> list[str]:
    """The images of a list of VOC: the first word of each line."""
    lines = read_bytes(file).decode(errors="replace").splitlines()
    return sorted({match[0] for line in lines if (match := re.match(r"\S+", line))})
