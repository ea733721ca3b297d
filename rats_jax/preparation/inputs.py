"""The contents of --input: its splits, and name, label and position of every image file.

Archives are read in place, by offsets; nothing is extracted.
"""

import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rats_jax.data.counted import counted
from rats_jax.data.passed_over import PassedOver, is_hidden, why_passed_over
from rats_jax.data.sources import (
    check_folder,
    is_image,
    list_images,
    no_image,
    odd_classes,
    top_folder,
)
from rats_jax.data.tar_members import list_tars
from rats_jax.errors import UserError
from rats_jax.paths import printable
from rats_jax.preparation import devkit

TRAIN_TAR = "ILSVRC2012_img_train.tar"  # contains one tar per class
VAL_TAR = "ILSVRC2012_img_val.tar"  # flat
FOLDERS = ("train", "val")
UNLABELLED = -1
UNREAD_LABEL = "labels that prepare does not read (train on the tar with config.data.source=tar)"


class File(NamedTuple):
    """An image file.

    Attributes:
      name: relative path, with `/` between parts.
      label: index of its class; -1 if the class is not known.
      offset: in bytes, within the archive; None if the file is not in an archive.
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
      root: the folder that the names are relative to, or the archive.
      classes: names of the labels.
      files: sorted by name.
      passed_over: what is not read.
      notes: lines for the user.
    """

    name: str
    root: Path
    classes: list[str]
    files: list[File]
    passed_over: PassedOver
    notes: list[str] = field(default_factory=list)


def find_splits(path: Path) -> list[Split]:
    """The splits in `path`: ImageNet's tars or folders, any archive, or any folder of images.

    Raises:
      UserError: the path does not exist, contains no image, or is a damaged archive.
    """
    if os.path.isfile(path):
        listing = _list_tar(path)
        if any(devkit.is_validation(file.name) for file in listing.files):
            return [_validation(listing, path.parent)]
        return [_by_folder("train", listing)]
    check_folder(path, "a folder of images or a .tar file")
    archives = [path / name for name in (TRAIN_TAR, VAL_TAR) if (path / name).is_file()]
    if archives:
        return _train_and_val({archive.name: _list_tar(archive) for archive in archives}, path)
    try:
        inner = {entry.name for entry in path.iterdir() if entry.is_dir()}
    except OSError as error:
        raise UserError(printable(f"cannot list {path} ({error.strerror})")) from error
    splits = [name for name in FOLDERS if name in inner]
    # If there are folders with other names, "train" may be a class.
    if len(splits) == 2 or (splits and all(name in (*FOLDERS, "test") for name in inner)):
        return _train_and_val({name: _list_folder(path / name) for name in splits}, path)
    return [_by_folder("train", _list_folder(path))]


class _Listing(NamedTuple):
    root: Path
    files: list[File]  # without labels
    passed_over: PassedOver


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
        shown = ", ".join(map(printable, other[:5])) + ", ..." * (len(other) > 5)
        splits[0].notes.append(f"skipped next to the splits: {shown}")
    return splits


def _by_folder(name: str, listing: _Listing) -> Split:
    """Labels by first-level folder, as in `ImageFolder`."""
    classes = sorted({top_folder(file.name) for file in listing.files})
    split = _labelled(name, listing, classes, {})
    is_tar = not os.path.isdir(listing.root)
    remedy = "pack the tar from within that folder" if is_tar else "give that folder"
    names = (file.name for file in listing.files)
    split.notes.extend(odd_classes(classes, names, remedy=remedy))
    return split


def _validation(listing: _Listing, beside: Path, classes: list[str] | None = None) -> Split:
    """Labels by first-level folder; for files in no folder, by the development kit."""
    kit = beside / devkit.NAME
    flat = any("/" not in file.name for file in listing.files)
    wnids, truth = devkit.read(kit) if flat and kit.is_file() else ([], {})
    if classes is None:
        classes = wnids or sorted({top_folder(file.name) for file in listing.files} - {""})
    split = _labelled("val", listing, classes, truth)
    if unlabelled := sum(file.label == UNLABELLED for file in split.files):
        remedy = (
            "they belong to no class of train, or are not in the ground truth"
            if truth or not flat
            else f"to give them labels, download {devkit.NAME} from image-net.org, put it into "
            f"{beside} and run prepare again"
        )
        split.notes.append(f"{counted(unlabelled, 'image')} of val with the label -1: {remedy}")
    return split


def _labelled(name: str, listing: _Listing, classes: list[str], truth: dict[str, str]) -> Split:
    labels = {name: label for label, name in enumerate(classes)}

    def label(file: File) -> int:
        stem = file.name.rsplit(".", 1)[0]
        return labels.get(truth.get(stem, top_folder(file.name)), UNLABELLED)

    files = [file._replace(label=label(file)) for file in listing.files]
    notes = listing.passed_over.notes(listing.root)
    return Split(name, listing.root, classes, files, listing.passed_over, notes)


def _list_folder(root: Path) -> _Listing:
    passed_over = PassedOver()
    files = [
        File(name, UNLABELLED, None, _size(root / name)) for name in list_images(root, passed_over)
    ]
    return _some(_Listing(root, files, passed_over))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted, or not permitted: the error is reported when the file is read
        return 0


def _list_tar(path: Path) -> _Listing:
    files, passed_over = [], PassedOver()
    try:
        with path.open("rb") as file:
            for members in list_tars(file, passed_over):
                for name, (offset, size) in members.items():
                    if is_image(name):
                        files.append(File(name, UNLABELLED, offset, size))
                    elif name.lower().endswith(".tar") and not is_hidden(name):
                        files += _list_inner(file, name, offset, size, passed_over)
                    else:
                        _pass_over(name, passed_over)
    except tarfile.ReadError as error:
        raise UserError(printable(f"{path} {error}")) from error
    except OSError as error:
        raise UserError(printable(f"{path} cannot be read ({error.strerror})")) from error
    return _some(_Listing(path, sorted(files), passed_over))


def _list_inner(file: BinaryIO, tar: str, start: int, length: int, outer: PassedOver) -> list[File]:
    """The images of a tar within a tar, in a folder with the name of the inner tar."""
    files, passed_over = [], PassedOver()
    folder = Path(tar).stem
    file.seek(start)
    try:
        for members in list_tars(file, passed_over, size=length):
            for name, (offset, size) in members.items():
                if is_image(name):
                    files.append(File(f"{folder}/{name}", UNLABELLED, offset, size))
                else:
                    _pass_over(name, passed_over)
    except tarfile.ReadError as error:
        raise tarfile.ReadError(f"holds {tar}, which {error}") from error
    outer.add_all(passed_over, folder=folder)
    return files


def _pass_over(name: str, passed_over: PassedOver) -> None:
    is_label = name.endswith(".cls")  # a .json may be anything
    passed_over.add(UNREAD_LABEL if is_label else why_passed_over(name), name)


def _some(listing: _Listing) -> _Listing:
    if not listing.files:
        raise UserError(no_image(listing.root, listing.passed_over))
    return listing
