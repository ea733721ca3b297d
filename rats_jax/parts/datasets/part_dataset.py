"""The interface of all data sets: images with label maps, each read when it is requested."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from rats_jax.data.decode import UnreadableImage, decode_fast
from rats_jax.data.subset import evenly
from rats_jax.errors import UserError
from rats_jax.parts.datasets import exif
from rats_jax.paths import printable

VOID = -1  # the id of pixels that are ignored; no file can contain it
MOST_REGIONS = 4096  # of a mask or a label map; a photograph taken for one has more

Size = tuple[int, int]


class Labels(NamedTuple):
    """A reader's result for an entry's mask.

    ids: int [h, w], of one of the image's sizes. names: of ids. sized: whether the files determine
    that size; if not, it is assumed.
    """

    ids: np.ndarray
    names: Mapping[int, str]
    sized: bool = True


class Sizes(NamedTuple):
    """(height, width) of an image: `upright`, as it is scored, and `stored`, as in its file. They
    differ if EXIF rotates the image by 90 degrees."""

    upright: Size
    stored: Size


@dataclass(frozen=True)
class Labelled:
    """An image and its regions.

    Attributes:
      image: uint8 [h, w, 3], upright.
      mask: int32 [h, w], ids from 0, or VOID.
      name: relative path of the image, unique in the data set.
      group: its class, for results by class; None if there are no classes.
      labels: names of ids, if the files give them.
      orientation: EXIF orientation of the image's file.
      drawn_on: if EXIF rotates the image, the pixels that the mask was drawn on: "stored", in which
        case the mask was rotated like the image, or "upright". "either" if the files do not
        determine this, in which case upright pixels are assumed.
    """

    image: np.ndarray
    mask: np.ndarray
    name: str
    group: str | None
    labels: Mapping[int, str] = field(default_factory=dict)
    orientation: int = exif.AS_STORED
    drawn_on: Literal["stored", "upright", "either"] | None = None


@dataclass(frozen=True)
class Entry:
    """The files of one sample.

    Attributes:
      name, group: as in `Labelled`.
      image: the file of the image.
      mask: the file of the mask.
      details: further data from which the data set's reader makes the mask.
      fault: why there is no sample, reported when it is requested; None if the sample is complete.
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
      entries: the files of the samples, sorted by name.
      read_mask: a module's function (picklable) from an entry and its image's sizes to `Labels`;
        raises UserError.
      background: the id of pixels that belong to no part, if it is the same in every mask; None if
        there is no such id, or if it is not known.
      points: whether a mask has a pixel for each keypoint, and is void elsewhere.
      classes: names of all ids that masks may have, if an id means the same in every image and the
        kind of data set determines the ids; None otherwise.
      notes: what was left out or read differently because of the files, with counts, one line each;
        recorded with results. Some begin with "warning: ".
    """

    name: str
    flattening: str
    entries: Sequence[Entry]
    read_mask: Callable[[Entry, Sizes], Labels]
    notes: Sequence[str] = ()
    background: int | None = None
    points: bool = False
    classes: Mapping[int, str] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def folders(self) -> list[Path]:
        """The folder that contains all images, and the folder that contains all masks."""
        images = {e.image.parent for e in self.entries if e.image}
        masks = {e.mask.parent for e in self.entries if e.mask}
        return [Path(os.path.commonpath(folders)) for folders in (images, masks) if folders]

    @property
    def identities(self) -> set:
        """What distinguishes images, also those of different data sets: their files."""
        return {entry.image.resolve() for entry in self.entries if entry.image}

    @property
    def about(self) -> dict:
        """What results record about the data set, as plain values."""
        return {"name": self.name, "flattening": self.flattening, "notes": list(self.notes)}

    def limited(self, most: int | None) -> "PartDataset":
        """At most `most` of the samples, evenly spaced; all for None."""
        if most is None:
            return self
        chosen = evenly(len(self), most)
        return replace(self, entries=[self.entries[i] for i in chosen])

    def with_background(self, given: int | None) -> "PartDataset":
        """The same with another id of the background; unchanged for None."""
        return self if given is None else replace(self, background=given)

    def sample(self, i: int) -> Labelled:
        """The i-th sample.

        Raises:
          UserError: this sample is broken, or a part of it is missing: one line that names it.
        """
        try:
            return self._read(self.entries[i])
        except UserError as error:
            raise UserError(printable(str(error))) from error  # names may contain line breaks

    def _read(self, entry: Entry) -> Labelled:
        if entry.fault:
            raise UserError(entry.fault)
        image, orientation, sizes = read_image(entry)
        mask, labels, sized = self.read_mask(entry, sizes)
        if mask.shape not in sizes:
            raise UserError(different_sizes(entry, f"{entry.mask} is", mask.shape, sizes))
        _check_regions(entry, mask)
        on = drawn_on(orientation, mask.shape, sizes, sized)
        if on == "stored":
            mask = exif.upright(mask, orientation)
        mask = mask.astype(np.int32)
        return Labelled(image, mask, entry.name, entry.group, labels, orientation, on)


def read_image(entry: Entry) -> tuple[np.ndarray, int, Sizes]:
    """An entry's image, uint8 [h, w, 3], upright; its EXIF orientation, and its sizes.

    Raises:
      UserError: it cannot be read.
    """
    content = read_bytes(entry.image)
    try:
        image = decode_fast(content)
    except UnreadableImage as error:
        raise UserError(
            f"{entry.image} is not a readable image ({error}); download it again"
        ) from error
    orientation, size = exif.orientation(content), image.shape[:2]
    return image, orientation, Sizes(size, size[::-1] if orientation in exif.QUARTERS else size)


def read_bytes(path: Path) -> bytes:
    """A file's content, or a UserError."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # the latter: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}); add it, or make it readable") from error


def different_sizes(entry: Entry, what: str, given: Size, sizes: Sizes) -> str:
    """The message that a mask fits the image neither upright nor as stored; it mentions EXIF if
    that may be the reason.

    what: the start of the message, such as "a.png is".
    """
    (height, width), (h, w) = given, sizes.upright
    line = f"{what} {width} x {height} pixels, and {entry.image} "
    if sizes.stored != sizes.upright:
        line += "(rotated upright by its EXIF orientation) "
    line += f"is {w} x {h}; "
    if given == sizes.upright[::-1]:
        line += (
            "the sides are swapped, as if the image had been rotated, or its EXIF orientation "
            "removed, after the mask was made; "
        )
    return line + "give both the same size, and resize masks without interpolation"


def drawn_on(
    orientation: int, mask: Size, sizes: Sizes, sized: bool
) -> Literal["stored", "upright", "either"] | None:
    """`Labelled.drawn_on` of a mask of this size."""
    if orientation == exif.AS_STORED:
        return None
    if sizes.stored == sizes.upright or not sized:
        return "either"
    return "upright" if mask == sizes.upright else "stored"


def _check_regions(entry: Entry, mask: np.ndarray) -> None:
    if mask.size and int(mask.max()) - int(mask.min()) < MOST_REGIONS:
        return
    if (count := len(np.unique(mask))) > MOST_REGIONS:
        raise UserError(
            f"{entry.mask} holds {count:,} ids, more than the limit of {MOST_REGIONS:,}: it seems "
            "to be a photograph; give masks with one id per region"
        )
