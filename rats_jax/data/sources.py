"""Sources of images: objects with a length that give (image, label) by index."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from rats_jax.data.fingerprint import fingerprint_of_names
from rats_jax.data.passed_over import (
    ARCHIVE,
    BROKEN_LINK,
    FOLDER,
    FOLDER_AGAIN,
    HIDDEN,
    TAR,
    PassedOver,
    is_hidden,
    why_no_file,
    why_passed_over,
)
from rats_jax.errors import UserError
from rats_jax.paths import local_path, printable

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")

#: Names of folders that are splits of a data set rather than classes.
SPLITS = set("train training val valid validation test testing dev".split())
PICTURES = set("image images img imgs jpegimages".split())
ANNOTATIONS = ("mask", "annotation", "label", "segmentation", "gt", "depth")  # starts of names


class Source(Protocol):
    """Random access to images; all that the input pipeline needs from a data set.

    `source[i]`, 0 <= i < len(source), gives `(image, label)`: an encoded file (bytes) or decoded
    uint8 [h, w, 3], and an int. The order must never change, since batches are a function of it.
    Reading must be safe from several threads, and the source must be picklable (it is sent to
    worker processes). An image that cannot be read raises OSError or `UnreadableImage`.

    Optional members: `files`, one name per index, for messages; `classes`, the names of the labels;
    `notes`, lines for the user about what was passed over and what looks like a mistake; and
    `fingerprint()`, see `rats_jax.data.fingerprint`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[bytes | np.ndarray, int]: ...


class OfOtherKind(UserError):
    """The path belongs to another kind of source.

    Attributes:
      kind: the other kind. The caller adds to the message how to choose it.
    """

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind


class ImageFolder:
    """All JPEG, PNG and WebP files in a folder and its subfolders.

    Files are sorted by relative path, so that their order is the same on every file system. The
    label is the index of the first-level folder among those that contain images (sorted by name);
    files directly in the folder are the first class, named "". Hidden files and folders are
    passed over; links are followed.

    Attributes:
      root: the folder.
      files: relative paths, with `/` between parts.
      classes: names of the labels.
      notes: what was passed over, and what looks like a mistake.

    Raises:
      UserError: the folder is missing, unreadable, or contains no image; OfOtherKind for a tar.
    """

    def __init__(self, path: str | os.PathLike):
        self.root = _folder_of_images(path)
        passed_over = PassedOver()
        self.files = list_images(self.root, passed_over)
        if not self.files:
            raise UserError(no_image(self.root, passed_over))
        self.classes = sorted({top_folder(name) for name in self.files})
        self.notes = passed_over.notes(self.root) + odd_classes(self.classes, self.files)
        self._labels = {name: label for label, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> tuple[bytes, int]:
        name = self.files[index]
        return (self.root / name).read_bytes(), self._labels[top_folder(name)]

    def fingerprint(self) -> str:
        """The fingerprint of the relative paths in their order."""
        return fingerprint_of_names(self.files)


def _folder_of_images(path: str | os.PathLike) -> Path:
    file = local_path(path)
    kind = why_passed_over(file.name) if os.path.isfile(file) else None
    what = "a folder of images" + (": unpack it first" if kind == ARCHIVE else "")
    try:
        return check_folder(path, what)
    except UserError as error:
        raise (OfOtherKind(str(error), "tar") if kind == TAR else error) from None


def check_folder(path: str | os.PathLike, what: str) -> Path:
    """The path with `~` expanded; UserError if it is not a folder. `what` describes the folder that
    is needed."""
    if "://" in os.fspath(path):
        raise UserError(f"{path} is a URL; copy or mount the data, and give {what}")
    folder = local_path(path)
    if not os.path.exists(folder):
        raise UserError(printable(f"{folder} does not exist; give {what}"))
    if not os.path.isdir(folder):
        raise UserError(printable(f"{folder} is not a folder; give {what}"))
    return folder


def no_image(place: object, passed_over: PassedOver) -> str:
    """The error message if a place contains no image. It lists what was passed over."""
    expected = f"expected files that end in {', '.join(EXTENSIONS)} (in any case)"
    instead = f"; skipped: {passed_over}" if passed_over.found else ""
    return printable(f"{place} contains no image; {expected}{instead}")


def list_images(root: Path, passed_over: PassedOver) -> list[str]:
    """Relative paths of all images in a folder and its subfolders, sorted. Other files are added to
    `passed_over`."""
    images = []
    for name in walk(root, passed_over):
        if is_image(name):
            images.append(name)
        else:
            passed_over.add(why_passed_over(name), name)
    return sorted(images)


def walk(root: Path, passed_over: PassedOver | None = None) -> Iterator[str]:
    """Relative paths, with `/` between parts, of all regular files in a folder and its subfolders.

    Links are followed, but no folder is listed twice. Broken links are added to `passed_over`.
    Without it they are yielded, and reading them reports the error. UserError if a folder cannot be
    listed.
    """
    visited = set()  # a link to a parent folder would otherwise lead to an endless loop
    folders = [""]
    while folders:
        folder = folders.pop()
        real = os.path.realpath(root / folder)
        if real in visited:
            if passed_over is not None:
                passed_over.add(FOLDER_AGAIN, folder)
            continue
        visited.add(real)
        inner = []
        for entry in list_folder(root / folder):
            name = f"{folder}/{entry.name}" if folder else entry.name
            reason = why_no_file(entry)
            if reason == FOLDER:
                inner.append(name)
            elif reason is None or (reason == BROKEN_LINK and passed_over is None):
                yield name
            elif passed_over is not None:
                passed_over.add(HIDDEN if is_hidden(name) else reason, name)
        folders += reversed(inner)


def list_folder(folder: str | os.PathLike) -> list[os.DirEntry]:
    """The entries of a folder, sorted by name; UserError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            printable(f"cannot list {folder}: {error.strerror}; make it readable")
        ) from error


def is_image(name: str) -> bool:
    """Whether a path has an image's extension, and is neither hidden nor in a hidden folder."""
    return name.lower().endswith(EXTENSIONS) and not is_hidden(name)


def top_folder(name: str) -> str:
    """The first part of a relative path; "" for a file in no folder."""
    return name.split("/", 1)[0] if "/" in name else ""


def odd_classes(
    classes: list[str], names: Iterable[str], *, remedy: str = "give that folder as the path"
) -> list[str]:
    """Notes on first-level folders that are probably not the classes that the user wants."""
    lower = {name.lower() for name in classes}
    shown = ", ".join(printable(f"{name}/") for name in classes[:5])
    if len(lower) > 1 and lower <= SPLITS:
        return [f"warning: {shown} look like splits: the images of all of them are read"]
    if lower & PICTURES and any(name.startswith(ANNOTATIONS) for name in lower):
        return [f"warning: {shown} look like images and masks: all of them are read as images"]
    if len(classes) == 1 and classes != [""]:
        inner = {name.split("/")[1] for name in names if name.count("/") > 1}
        if len(inner) > 1:
            return [
                f"all images are in {shown}, so its {len(inner):,} folders count as one class; to "
                f"use them as classes, {remedy}"
            ]
    return []
