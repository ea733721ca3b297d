"""Masks of SAM and SAM 2, in files with the same stems as their images."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rats_jax.data.sources import top_folder, walk
from rats_jax.errors import UserError
from rats_jax.parts.datasets.id_files import ARRAYS, read_ids
from rats_jax.parts.datasets.json_file import read_json
from rats_jax.parts.datasets.pairing import is_hidden, pair, stem_of
from rats_jax.parts.datasets.part_dataset import (
    VOID,
    Entry,
    Labels,
    PartDataset,
    Sizes,
    read_bytes,
)
from rats_jax.parts.datasets.segmentation import decode_all, size_among, smallest_on_top

_METADATA = "metadata.csv"  # in a folder of PNG files that SAM's scripts/amg.py wrote


def open_sam(path: Path) -> PartDataset:
    """`images/` and `masks/`, or one folder with both (as in SA-1B, without PNG masks).

    The mask of `images/a.jpg` is one of

    - `a.json`: a list of {"segmentation": ...} (SAM's generator and amg.py), SA-1B's
      {"annotations": [...]}, or {"masks": [...]} or {"rle_mask": [...]} (transformers'
      mask-generation). A mask is an RLE, compressed or not, or rows of 0 and 1, or polygons.
    - `a.npz`: masks [N, h, w] or a map [h, w], named `masks` or the only array; or `a.npy`.
    - `a.png`: a map of ids, 0 where there is no mask.
    - `a/0.png`, `a/1.png`, ...: one PNG each (amg.py without --convert-to-rle).

    The group is the first folder below `images`.
    """
    if path.name in ("images", "masks") and (path.parent / "masks").is_dir():
        path = path.parent
    apart = (path / "images").is_dir() and (path / "masks").is_dir()
    images, masks = (path / "images", path / "masks") if apart else (path, path)
    if not images.is_dir():
        raise UserError(f"{path} is not a folder; give the folder that contains images and masks")
    return PartDataset(
        name=path.name,
        flattening="where masks overlap, the smallest (in pixels) is on top, of equal ones the "
        "later; pixels in no mask are void",
        entries=pair(
            images,
            masks,
            group=lambda name: top_folder(name) or None,
            find_masks=_find_masks if apart else _find_masks_beside,
        ),
        read_mask=read_sam_masks,
    )


def read_sam_masks(entry: Entry, sizes: Sizes) -> Labels:
    """int32 [h, w]: the number of the mask on top, from 1, or VOID; for a map, its ids."""
    path, sized = entry.mask, True
    if path.suffix.lower() == ".png":
        labels = read_ids(path)
    else:
        masks = _stored_arrays(path) if path.suffix.lower() in ARRAYS else None
        if masks is not None and masks.ndim == 2:
            labels = masks.astype(np.int32)
        else:
            if masks is None:
                masks = _pictures(path) if path.is_dir() else _segmentations(path)
            numbered = ((f"mask {i}", mask) for i, mask in enumerate(masks))
            size, sized = size_among(entry, masks, sizes)
            labels = smallest_on_top(decode_all(path, numbered, size), size)
    return Labels(np.where(labels == 0, VOID, labels), {}, sized)


def _find_masks(
    masks: Path, stems: set[str], endings=(".json", ".npz", ".npy", ".png")
) -> dict[str, Path]:
    names = [name for name in walk(masks) if not is_hidden(name)]
    folders = {n.rpartition("/")[0] for n in names if Path(n).name == _METADATA} | stems
    found: dict[str, Path] = {}
    for name in sorted(names, key=lambda name: (name.lower().endswith(".npy"), name)):
        folder, ending = name.rpartition("/")[0], Path(name).suffix.lower()
        if ending not in endings:
            continue
        if ending == ".npy" and (stem_of(name) not in stems or stem_of(name) in found):
            continue  # such as SAM's embedding of the image
        in_folder = ending == ".png" and folder in folders
        stem, file = (folder, folder) if in_folder else (stem_of(name), name)
        if found.setdefault(stem, masks / file) != masks / file:
            raise UserError(
                f"{masks} holds {found[stem].relative_to(masks)} and {file}, two masks for one "
                "image; remove one"
            )
    return found


def _find_masks_beside(masks: Path, stems: set[str]) -> Mapping[str, Path]:
    return _find_masks(masks, stems, endings=(".json", ".npz", ".npy"))


def _segmentations(path: Path) -> list[Any]:
    content = read_json(path)
    try:
        if isinstance(content, dict):
            if "annotations" not in content:
                return list(content.get("rle_mask") or content["masks"])
            content = content["annotations"]
        return [mask["segmentation"] for mask in content]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} holds no masks as SAM, SA-1B or transformers write them (a list of "
            '{"segmentation": ...}, "annotations", "masks" or "rle_mask"); write it again'
        ) from error


def _stored_arrays(path: Path) -> np.ndarray:
    try:
        masks = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
        if isinstance(masks, np.lib.npyio.NpzFile):
            key = "masks" if "masks" in masks or len(masks.files) != 1 else masks.files[0]
            masks = masks[key]
    except UserError:
        raise
    except Exception as error:  # of many types on damaged data
        raise UserError(
            f"{path} holds no array of masks ({error}); save it by np.savez(path, masks=masks), "
            "bool [N, h, w]"
        ) from error
    if masks.ndim not in (2, 3) or masks.dtype.kind not in "biu":
        raise UserError(
            f"{path} holds {masks.dtype} {list(masks.shape)}; save masks as bool [N, h, w], or a "
            "map of ids [h, w]"
        )
    if masks.ndim == 2 and masks.size and not 0 <= int(masks.min()) <= int(masks.max()) < 2**31:
        raise UserError(f"{path} holds ids that are negative or at least 2**31; renumber them")
    return masks


def _pictures(folder: Path) -> list[np.ndarray]:
    files = [file for file in folder.iterdir() if file.suffix.lower() == ".png"]
    files.sort(key=lambda file: (len(file.name), file.name))  # 2.png before 10.png
    return [read_ids(file) for file in files]
