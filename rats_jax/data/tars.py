"""Images read straight out of uncompressed tar files, WebDataset shards among them, by index."""

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
from rats_jax.data.sources import EXTENSIONS, top_folder
from rats_jax.data.tar_index import UNLABELLED, TarIndex, load_index
from rats_jax.errors import UserError

MAX_OPEN = 512  # tars that a process keeps open; many systems allow it 1,024 files


class Tars:
    """Every JPEG, PNG and WebP file in one or many uncompressed tar files.

    The tars come sorted by name, or as a brace pattern counts; the images within one as they lie.
    Hidden files are skipped, and so are links. The label of an image is

    1. the whole number in the `.cls` member of the same name (WebDataset), or
    2. "label" in the `.json` member of the same name, if that is a whole number;
    3. where no image has one, the index of the first-level folder, as `ImageFolder` counts. Where
       others have one, -1.

    A tar is listed once, which reads all of its headers. The list is kept beside it, in
    `NAME.tar.index`, if the folder can be written to, and made anew when size or time of the tar
    have changed.

    Args:
      path: a tar; a folder of `*.tar`; a glob, `imagenet-*.tar`; or a WebDataset pattern,
        `imagenet-{000000..000146}.tar`.

    Attributes:
      tars: paths of the tars.
      files: `tar/member`, one for each image.
      classes: names of the first-level folders; empty where members give the labels.

    Raises:
      UserError: no tar there, one that is compressed, damaged or cut short, or no image in them.
    """

    def __init__(self, path: str | os.PathLike):
        self.tars = _find_tars(os.fspath(path))
        with ThreadPoolExecutor(8) as threads:  # storage on a network answers late
            self._indices = list(threads.map(load_index, self.tars))
        self._ends = list(itertools.accumulate(len(index.labels) for index in self._indices))
        if not len(self):
            raise UserError(
                f"config.data.path {path} holds no image; expected members that end in "
                f"{', '.join(EXTENSIONS)} (in any case). Tars within a tar, as ImageNet comes, "
                "are for python -m rats_jax.prepare"
            )
        self.classes = _label_by_folder(self._indices)
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
        return _Names(self)

    def fingerprint(self) -> str:
        """Of the names and sizes of the members in their order, whatever tars they are in."""
        names = (index.names for index in self._indices)
        lengths = (np.diff(index.ends, prepend=0) for index in self._indices)
        sizes = (index.sizes for index in self._indices)
        return fingerprint_of_arrays(itertools.chain(names, lengths, sizes))

    def name(self, index: int) -> str:
        """Tar and member, as in `files`."""
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


class _Names(Sequence):
    def __init__(self, tars: Tars):
        self._tars = tars

    def __len__(self) -> int:
        return len(self._tars)

    def __getitem__(self, index: int) -> str:
        return self._tars.name(index)


def _find_tars(path: str) -> list[str]:
    if os.path.isdir(path):
        tars = sorted(glob.glob(os.path.join(glob.escape(path), "*.tar")))
    elif os.path.exists(path):
        tars = [path]
    elif "{" in path:
        tars = _expand_braces(path)
        missing = [tar for tar in tars if not os.path.exists(tar)]
        if missing:
            raise UserError(
                f"of the {len(tars)} tars of config.data.path {path}, {len(missing)} do not "
                f"exist, {missing[0]} the first; complete them or change the pattern"
            )
    else:
        tars = sorted(glob.glob(path))
    if not tars:
        raise UserError(
            f"config.data.path {path} names no tar; give an uncompressed .tar, a folder of them, "
            "a glob (images-*.tar) or a pattern (images-{000..146}.tar)"
        )
    return tars


def _expand_braces(pattern: str) -> list[str]:
    """`a{08..10}{x,y}` as a08x a08y a09x a09y a10x a10y."""
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


def _label_by_folder(indices: list[TarIndex]) -> list[str]:
    """Labels by first-level folder where no image has a label; the names of the folders."""
    if any((index.labels != UNLABELLED).any() for index in indices):
        return []
    tops = [[top_folder(index.name(i)) for i in range(len(index.labels))] for index in indices]
    classes = sorted(set(itertools.chain.from_iterable(tops)))
    numbers = {name: number for number, name in enumerate(classes)}
    for index, folders in zip(indices, tops, strict=True):
        index.labels = np.array([numbers[folder] for folder in folders], np.int64)
    return classes
