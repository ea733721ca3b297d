"""The interface of all data sets: images with label maps, each read when it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rats_jax.data.decode import UnreadableImage, decode_fast
from rats_jax.errors import UserError
from rats_jax.paths import printable

VOID = -1  # the id of pixels that count nowhere; no file can hold it

Size = tuple[int, int]
Labels = tuple[np.ndarray, Mapping[int, str]]


@dataclass(frozen=True)
class Labelled:
    """An image and its regions.

    Attributes:
      image: uint8 [h, w, 3], upright.
      mask: int32 [h, w], ids from 0, or VOID.
      name: relative path of the image, unique in the data set.
      group: its class, for results by class; None where there are none.
      labels: names of ids, where the files give them.
    """

    image: np.ndarray
    mask: np.ndarray
    name: str
    group: str | None
    labels: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """Where one sample lies.

    Attributes:
      name, group: as in `Labelled`.
      image: the file.
      mask: the file that the mask is in.
      details: what else the data set's reader makes the mask from.
      fault: why there is no sample, to be told when it is asked for; None if all is there.
    """

    name: str
    image: Path | None = None
    mask: Path | None = None
    group: str | None = None
    details: Any = None
    fault: str | None = None


@dataclass(frozen=True)
class PartDataset:
    """Images with label maps; safe to read from several threads, and picklable.

    Attributes:
      name: of the data set and its split.
      flattening: the rule by which masks or ids become one label map; recorded with results.
      entries: where the samples lie, sorted by name.
      read_mask: a module's function (picklable) from an entry and its image's size to int [h, w]
        and names of ids; raises UserError.
    """

    name: str
    flattening: str
    entries: Sequence[Entry]
    read_mask: Callable[[Entry, Size], Labels]

    def __len__(self) -> int:
        return len(self.entries)

    def sample(self, i: int) -> Labelled:
        """The i-th sample.

        Raises:
          UserError: this sample is broken, or a part of it is missing: one line that names it.
        """
        try:
            return self._read(self.entries[i])
        except UserError as error:
            raise UserError(printable(str(error))) from error  # names may hold line ends

    def _read(self, entry: Entry) -> Labelled:
        if entry.fault:
            raise UserError(entry.fault)
        image = _read_image(entry.image)
        mask, labels = self.read_mask(entry, image.shape[:2])
        if mask.shape != image.shape[:2]:
            raise UserError(_different_sizes(entry, mask.shape, image.shape[:2]))
        return Labelled(image, mask.astype(np.int32), entry.name, entry.group, labels)


def read_bytes(path: Path) -> bytes:
    """A file's content, or a UserError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); put it there") from error


def _read_image(path: Path) -> np.ndarray:
    try:
        return decode_fast(read_bytes(path))
    except UnreadableImage as error:
        raise UserError(f"{path} is no image that can be read ({error}); get it again") from error


def _different_sizes(entry: Entry, mask: Size, image: Size) -> str:
    turned = "(turned upright, as its EXIF says) " if mask == image[::-1] else ""
    return (
        f"{entry.mask} is {mask[1]} x {mask[0]} pixels, and {entry.image} {turned}{image[1]} x "
        f"{image[0]}; give both one size, masks without interpolation"
    )
