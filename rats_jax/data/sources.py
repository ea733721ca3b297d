"""Where images come from: anything with a length that gives (image, label) by index."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from rats_jax.data.fingerprint import fingerprint_of_names
from rats_jax.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


class Source(Protocol):
    """Random access to images; all that the input pipeline asks of a data set.

    `source[i]`, 0 <= i < len(source), gives `(image, label)`: an encoded file (bytes) or decoded
    uint8 [h, w, 3], and an int. The order is fixed for good: batches are a function of it. Reading
    must be safe from several threads, and the source picklable (it travels to worker processes).
    An image that cannot be read raises OSError or `UnreadableImage`. A source may have `files`,
    one name per index, for messages, and `fingerprint()`, see `rats_jax.data.fingerprint`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[bytes | np.ndarray, int]: ...


class ImageFolder:
    """Every JPEG, PNG and WebP file in a folder and the folders below it.

    Files are sorted by relative path, so that their order is the same on every file system. The
    label is the index of the first-level folder among those that hold images (sorted by name);
    files that lie directly in the folder are the first class, named "". Hidden files and folders
    are skipped; links are followed.

    Attributes:
      root: the folder.
      files: relative paths, with `/` between parts.
      classes: names of the labels.

    Raises:
      UserError: the folder is missing, unreadable, or holds no image.
    """

    def __init__(self, path: str | os.PathLike):
        self.root = Path(path)
        if not self.root.exists():
            raise UserError(
                f"config.data.path {path} does not exist; give a folder that holds JPEG, PNG or "
                "WebP files"
            )
        if not self.root.is_dir():
            raise UserError(
                f"config.data.path {path} is not a folder; give the folder that holds it"
            )
        self.files = sorted(name for name in walk(self.root) if is_image(name))
        if not self.files:
            raise UserError(
                f"config.data.path {path} holds no image; expected files that end in "
                f"{', '.join(EXTENSIONS)} (in any case), in the folder or below it"
            )
        self.classes = sorted({top_folder(name) for name in self.files})
        self._labels = {name: label for label, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> tuple[bytes, int]:
        name = self.files[index]
        return (self.root / name).read_bytes(), self._labels[top_folder(name)]

    def fingerprint(self) -> str:
        """Of the relative paths in their order."""
        return fingerprint_of_names(self.files)


def walk(root: Path) -> Iterator[str]:
    """Relative paths, with `/` between parts, of all files in a folder and below; links are
    followed. UserError where a folder cannot be listed."""

    def refuse(error: OSError):
        raise UserError(
            f"cannot list {error.filename}: {error.strerror}; make {root} readable"
        ) from error

    visited = set()  # a link to a parent folder would otherwise be walked in circles
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        relative = Path(folder).relative_to(root)
        for name in files:
            yield (relative / name).as_posix()


def is_image(name: str) -> bool:
    """By its extension, and neither hidden nor in a hidden folder."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return name.lower().endswith(EXTENSIONS) and not hidden


def top_folder(name: str) -> str:
    """The first part of a relative path; "" for a file in no folder."""
    return name.split("/", 1)[0] if "/" in name else ""
