"""What lies in --input: its splits, and name, label and place of every image file.

Archives are read where they lie, through offsets; nothing is extracted.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rats_jax.data.preparation import devkit
from rats_jax.data.sources import EXTENSIONS, is_image, top_folder, walk
from rats_jax.data.tar_index import list_members
from rats_jax.errors import UserError

TRAIN_TAR = "ILSVRC2012_img_train.tar"  # a tar of one tar a class
VAL_TAR = "ILSVRC2012_img_val.tar"  # flat
FOLDERS = ("train", "val")
UNLABELLED = -1


class File(NamedTuple):
    """An image file.

    Attributes:
      name: relative path, with `/` between parts.
      label: index of its class; -1 if the class is not known.
      offset: in bytes, within the archive; None outside of one.
      size: in bytes.
    """

    name: str
    label: int
    offset: int | None
    size: int


@dataclass(frozen=True)
class Split:
    """The files that become one folder of shards.

    Attributes:
      name: "train" or "val".
      root: folder below which the names lie, or the archive.
      classes: names of the labels.
      files: sorted by name.
      skipped: how many other files lie there (hidden ones, and those that are no JPEG, PNG or
        WebP file by name).
      notes: what the user should know, a line each.
    """

    name: str
    root: Path
    classes: list[str]
    files: list[File]
    skipped: int
    notes: list[str] = field(default_factory=list)


def find_splits(path: Path) -> list[Split]:
    """The splits in `path`: ImageNet's tars or folders, any archive, or any folder of images.

    Raises:
      UserError: nothing there, no image in it, or a damaged archive.
    """
    if path.is_file():
        listing = _list_tar(path)
        if any(devkit.is_validation(file.name) for file in listing.files):
            return [_validation(listing, path.parent)]
        return [_by_folder("train", listing)]
    if not path.is_dir():
        raise UserError(f"--input {path} does not exist; give a folder of images or a .tar file")
    archives = [path / name for name in (TRAIN_TAR, VAL_TAR) if (path / name).is_file()]
    if archives:
        return _train_and_val({archive.name: _list_tar(archive) for archive in archives}, path)
    inner = {entry.name for entry in path.iterdir() if entry.is_dir()}
    splits = [name for name in FOLDERS if name in inner]
    # With folders of other names beside it, "train" may well be a class.
    if len(splits) == 2 or (splits and all(name in (*FOLDERS, "test") for name in inner)):
        return _train_and_val({name: _list_folder(path / name) for name in splits}, path)
    return [_by_folder("train", _list_folder(path))]


class _Listing(NamedTuple):
    root: Path
    files: list[File]  # without labels
    skipped: int


def _train_and_val(listings: dict[str, _Listing], folder: Path) -> list[Split]:
    splits = []
    for name, listing in listings.items():
        if name in (TRAIN_TAR, "train"):
            splits.append(_by_folder("train", listing))
        else:
            splits.append(_validation(listing, folder, splits[0].classes if splits else None))
    used = {*listings, devkit.NAME}
    if other := sorted(
        entry for entry in os.listdir(folder) if entry not in used and not entry.startswith(".")
    ):
        splits[0].notes.append(f"not read: {', '.join(other[:5])}{', ...' * (len(other) > 5)}")
    return splits


def _by_folder(name: str, listing: _Listing) -> Split:
    """Labels by first-level folder, as `ImageFolder` has them."""
    classes = sorted({top_folder(file.name) for file in listing.files})
    return _labelled(name, listing, classes, {})


def _validation(listing: _Listing, beside: Path, classes: list[str] | None = None) -> Split:
    """Labels by first-level folder; for files in none of them, by the development kit."""
    kit = beside / devkit.NAME
    flat = any("/" not in file.name for file in listing.files)
    wnids, truth = devkit.read(kit) if flat and kit.is_file() else ([], {})
    if classes is None:
        classes = wnids or sorted({top_folder(file.name) for file in listing.files} - {""})
    split = _labelled("val", listing, classes, truth)
    if unlabelled := sum(file.label == UNLABELLED for file in split.files):
        remedy = (
            "they are of no class of train, or not in the ground truth"
            if truth or not flat
            else f"to give them labels, fetch {devkit.NAME} from image-net.org, put it into "
            f"{beside} and prepare anew"
        )
        split.notes.append(f"{unlabelled:,} images of val have the label -1: {remedy}")
    return split


def _labelled(name: str, listing: _Listing, classes: list[str], truth: dict[str, str]) -> Split:
    labels = {name: label for label, name in enumerate(classes)}

    def label(file: File) -> int:
        stem = file.name.rsplit(".", 1)[0]
        return labels.get(truth.get(stem, top_folder(file.name)), UNLABELLED)

    files = [file._replace(label=label(file)) for file in listing.files]
    return Split(name, listing.root, classes, files, listing.skipped)


def _list_folder(root: Path) -> _Listing:
    names = list(walk(root))
    files = [
        File(name, UNLABELLED, None, _size(root / name)) for name in sorted(filter(is_image, names))
    ]
    return _Listing(root, _some(files, root), len(names) - len(files))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link to nowhere: reading it will say so
        return 0


def _list_tar(path: Path) -> _Listing:
    try:
        members = list(_members(path))
    except tarfile.ReadError as error:
        raise UserError(f"--input {path} {error}") from error
    except OSError as error:
        raise UserError(f"--input {path} cannot be read ({error.strerror})") from error
    files = sorted(
        File(name, UNLABELLED, offset, size) for name, offset, size in members if is_image(name)
    )
    return _Listing(path, _some(files, path), len(members) - len(files))


def _some(files: list[File], path: Path) -> list[File]:
    if not files:
        raise UserError(
            f"--input {path} holds no image; expected files that end in {', '.join(EXTENSIONS)}"
        )
    return files


def _members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of the files in an archive; of archives in it, the files in those,
    each in a folder named as its archive."""
    with path.open("rb") as file:
        for name, offset, size in list_members(file):
            if not name.endswith(".tar"):
                yield name.removeprefix("./"), offset, size
                continue
            file.seek(offset)
            for inner, inner_offset, inner_size in list_members(file):
                if inner_offset + inner_size > offset + size:
                    raise tarfile.ReadError(f"is damaged: {name} in it has no end; get it again")
                yield f"{Path(name).stem}/{inner.removeprefix('./')}", inner_offset, inner_size
