"""Reads images by index directly from uncompressed tar files, such as WebDataset shards."""

import glob
import itertools
import os
import re
import threading
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rats_jax.data.fingerprint import fingerprint_of_arrays
from rats_jax.data.names import Names
from rats_jax.data.passed_over import (
    FOLDER,
    HIDDEN,
    LOOSE,
    PassedOver,
    is_hidden,
    why_no_file,
    why_passed_over,
)
from rats_jax.data.sources import is_image, list_folder, no_image, odd_classes, top_folder
from rats_jax.data.tar_index import UNLABELLED, TarIndex, load_index
from rats_jax.errors import UserError
from rats_jax.paths import printable

INDEX = re.compile(r"\.index(\.[0-9a-f]{32})?$")  # names of the index files next to the tars
MAX_OPEN = 512  # tars that a process keeps open; many systems allow 1,024 open files


class Tars:
    """All JPEG, PNG and WebP files in one or more uncompressed tar files.

    The tars are sorted by name, or in the order of a brace pattern. The images of a tar are in the
    order of the tar. If a file consists of several tars joined by `cat`, all are read. A link gives
    the image it points to. If several members have the same name, the last is used. Hidden files
    are passed over. The label of an image is

    1. the whole number in the `.cls` member of the same name (WebDataset), or
    2. "label" in the `.json` member of the same name, if that is a whole number, or
    3. if no image has such a label, the index of the first-level folder, as in `ImageFolder`. If
       some images have one, the others have the label -1.

    A tar is listed once, which reads all of its headers. If the folder is writable, the list is
    stored next to the tar, in `NAME.tar.index`. It is made again if the size or the time of the tar
    has changed.

    Args:
      path: a tar; a folder of `*.tar`; a glob, `imagenet-*.tar`; or a WebDataset pattern,
        `imagenet-{000000..000146}.tar`. `~` is the home directory.

    Attributes:
      tars: paths of the tars.
      files: `tar/member`, one for each image.
      classes: names of the first-level folders; empty if the labels come from members.
      notes: what was passed over, and what looks like a mistake.

    Raises:
      UserError: there is no tar, or no image in the tars; or a tar is compressed, damaged or cut
        short.
    """

    def __init__(self, path: str | os.PathLike):
        passed_over = PassedOver()
        path = os.path.expanduser(os.fspath(path))
        self.tars = _find_tars(path, passed_over)
        with ThreadPoolExecutor(8) as threads:  # network storage answers slowly
            self._indices = list(threads.map(load_index, self.tars))
        for tar, index in zip(self.tars, self._indices, strict=True):
            folder = os.path.basename(tar) if len(self.tars) > 1 else ""
            passed_over.add_all(index.passed_over, folder=folder)
        self._ends = list(itertools.accumulate(len(index.labels) for index in self._indices))
        if not len(self):
            raise UserError(no_image(path, passed_over))
        self.classes, layout = _label_by_folder(self._indices)
        self.notes = passed_over.notes(path) + layout
        self._prepare_to_read()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int, /) -> tuple[bytes, int]:
        tar, i = self._locate(index)
        found = self._indices[tar]
        size = int(found.sizes[i])
        image = self._read(tar, size, int(found.offsets[i]))
        if len(image) != size:
            raise OSError(f"{self.tars[tar]} has been cut short since it was listed")
        return image, int(found.labels[i])

    @property
    def files(self) -> Sequence[str]:
        return Names(self, self.name)

    def fingerprint(self) -> str:
        """The fingerprint of the members' names and sizes in order, however split into tars."""
        names = (index.names for index in self._indices)
        lengths = (np.diff(index.ends, prepend=0) for index in self._indices)
        sizes = (index.sizes for index in self._indices)
        return fingerprint_of_arrays(itertools.chain(names, lengths, sizes))

    def name(self, index: int) -> str:
        """The name of an image, tar and member, as in `files`."""
        tar, i = self._locate(index)
        return f"{self.tars[tar]}/{self._indices[tar].name(i)}"

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        tar = bisect_right(self._ends, index)
        return tar, index - (self._ends[tar - 1] if tar else 0)

    def _read(self, tar: int, size: int, offset: int) -> bytes:
        with self._lock:
            if tar not in self._open and len(self._open) < MAX_OPEN:
                self._open[tar] = os.open(self.tars[tar], os.O_RDONLY)
            opened = self._open.get(tar)
        if opened is not None:
            return os.pread(opened, size, offset)
        with open(self.tars[tar], "rb", buffering=0) as file:
            return os.pread(file.fileno(), size, offset)

    def _prepare_to_read(self) -> None:
        self._open, self._lock = {}, threading.Lock()

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("_open", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._prepare_to_read()

    def __del__(self):
        for opened in getattr(self, "_open", {}).values():
            os.close(opened)


def _find_tars(path: str, passed_over: PassedOver) -> list[str]:
    if "://" in path or path.startswith("pipe:"):
        raise UserError(f"{path} is a URL; copy or mount the tars, and give their path")
    if os.path.isdir(path):
        tars = _tars_in(path, passed_over)
    elif os.path.exists(path):
        tars = [path]
    else:
        found = {pattern: _glob(pattern) for pattern in _expand_braces(path)}
        missing = [pattern for pattern, tars in found.items() if not tars]
        if missing and len(found) > 1:
            raise UserError(
                printable(
                    f"{len(missing)} of the {len(found)} tars of {path} cannot be found, the first "
                    f"is {missing[0]}; complete them or change the pattern"
                )
            )
        tars = list(itertools.chain.from_iterable(found.values()))
    if not tars:
        instead = f"; skipped: {passed_over}" if passed_over.found else ""
        raise UserError(
            printable(
                f"{path} matches no tar; give an uncompressed .tar, a folder of them, a glob "
                f"(images-*.tar) or a pattern (images-{{000..146}}.tar){instead}"
            )
        )
    return tars


def _tars_in(folder: str, passed_over: PassedOver) -> list[str]:
    """The tars in a folder, sorted. Other files are added to `passed_over`."""
    tars = []
    for entry in list_folder(folder):
        name = entry.name
        if is_hidden(name):
            reason = HIDDEN
        elif (reason := why_no_file(entry)) is None:
            if name.lower().endswith(".tar"):
                tars.append(entry.path)
                continue
            reason = LOOSE if is_image(name) else why_passed_over(name)
        if not INDEX.search(name):
            passed_over.add(reason, f"{name}/" if reason == FOLDER else name)
    return tars


def _glob(pattern: str) -> list[str]:
    if os.path.exists(pattern):
        return [pattern]
    return sorted(path for path in glob.glob(pattern, recursive=True) if not INDEX.search(path))


def _expand_braces(pattern: str) -> list[str]:
    """Expands `a{08..10}{x,y}` to a08x a08y a09x a09y a10x a10y."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    if bounds := re.fullmatch(r"(\d+)\.\.(\d+)", match[1]):
        first, last = bounds.groups()
        choices = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [before + choice + rest for choice in choices for rest in _expand_braces(after)]


def _label_by_folder(indices: list[TarIndex]) -> tuple[list[str], list[str]]:
    """Labels the images by first-level folder if no image has a label. Returns the names of the
    folders, and notes on what looks like a mistake."""
    unlabelled = [index.labels == UNLABELLED for index in indices]
    count, images = sum(each.sum() for each in unlabelled), sum(map(len, unlabelled))
    if count < images:
        return [], [f"warning: {count:,} of {images:,} images have no label"] if count else []
    names = [[index.name(i) for i in range(len(index.labels))] for index in indices]
    classes = sorted({top_folder(name) for name in itertools.chain.from_iterable(names)})
    numbers = {name: number for number, name in enumerate(classes)}
    for index, of_tar in zip(indices, names, strict=True):
        index.labels = np.array([numbers[top_folder(name)] for name in of_tar], np.int64)
    remedy = "pack the tar from within that folder"
    return classes, odd_classes(classes, itertools.chain.from_iterable(names), remedy=remedy)
