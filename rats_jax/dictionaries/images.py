"""The images of a split: with part masks, or with a class for each image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from rats_jax.classification.labelled import (
    LabelledImages,
    check_apart,
    check_class_names,
    open_labelled,
)
from rats_jax.data.counted import images_used
from rats_jax.data.decode import UnreadableImage, decode_fast
from rats_jax.data.kinds import LABELLED, PART_MASKS, hint
from rats_jax.data.subset import evenly
from rats_jax.errors import UserError
from rats_jax.parts.datasets import DRAWN, SAME_IDS, VOID, PartDataset, open_dataset
from rats_jax.parts.dictionary.naming import Parts, parts_of
from rats_jax.parts.regions import Size
from rats_jax.paths import local_path
from rats_jax.voice import say

_LOOKED_AT = 32  # masks that are read before the work, to find out whether there are parts


class Sample(NamedTuple):
    """pixels: uint8 [side, side, 3]. parts: None without masks. group: the class, or None."""

    pixels: np.ndarray
    parts: Parts | None
    group: str | None


@dataclass(frozen=True)
class Images:
    """flag: the flag that named them, --train or --dataset. spec: its value. background: the id of
    the background in the masks, None if every id is a part."""

    flag: str
    spec: str
    dataset: PartDataset | LabelledImages
    background: int | None = None

    def __len__(self) -> int:
        return len(self.dataset if self.masks else self.dataset.source)

    @property
    def masks(self) -> bool:
        return isinstance(self.dataset, PartDataset)

    @property
    def points(self) -> bool:
        """Whether masks have keypoints, see `PartDataset.points`."""
        return isinstance(self.dataset, PartDataset) and self.dataset.points

    @property
    def folders(self) -> list[Path]:
        return list(self.dataset.folders)

    @property
    def about(self) -> dict:
        """For results.json."""
        more = self.dataset.about if self.masks else {}
        return {"from": self.spec, "images": len(self), "background": self.background, **more}

    def limited(self, most: int | None) -> Self:
        """At most `most` of the images, evenly spaced. Reports how many there are."""
        fewer = replace(self, dataset=self.dataset.limited(most))
        notes = self.dataset.notes if self.masks else ()
        say("\n".join([f"{self.flag}={self.spec}: {images_used(len(fewer), len(self))}", *notes]))
        return fewer

    def name(self, index: int) -> str:
        return self.dataset.entries[index].name if self.masks else self.dataset.file(index)

    def files(self) -> list[Path]:
        """The files of the images; none if several images are in one file, or are drawn."""
        if self.masks:
            return [entry.image for entry in self.dataset.entries if entry.image]
        kind, _, place = self.spec.partition(":")
        names = self.dataset.source.files if kind == "image_folder" else []
        return [local_path(place) / name for name in names]

    def part_names(self) -> dict[int, str]:
        """The names of part ids, as the files of the first readable sample give them."""
        for index in range(len(self) if self.masks else 0):
            try:
                names = self.dataset.sample(index).labels
            except UserError:
                continue  # left out
            return {int(part): name for part, name in names.items() if part != self.background}
        return {}

    def read(self, index: int, *, side: int, grid: Size) -> Sample:
        """An image, resized to a square. Raises UserError or BrokenImage."""
        if self.masks:
            sample = self.dataset.sample(index)
            parts = parts_of(sample.mask, grid=grid, void=VOID, background=self.background)
            return Sample(_resized(sample.image, side), parts, sample.group)
        try:
            content, label = self.dataset.source[index]
            pixels = decode_fast(content)
        except (OSError, UnreadableImage) as error:
            reason = getattr(error, "strerror", None) or error
            raise self.dataset.broken(index, reason) from error
        group = self.dataset.class_name(label) if label >= 0 else None
        return Sample(_resized(pixels, side), None, group)

    def check_parts(self) -> None:
        """Reads some masks. Raises UserError if none of them has a part, and warns if none has the
        background."""
        chosen = evenly(len(self), _LOOKED_AT)
        found: set[int] = set()
        for index in chosen.tolist() if self.masks else []:
            try:
                found |= set(np.unique(self.dataset.sample(index).mask).tolist())
            except UserError:
                continue  # reported, or left out, when all images are read
        if self.masks and not found - {VOID, self.background}:
            raise UserError(self.without_parts(f"none of {len(chosen)} masks, evenly spaced,"))

        if self.masks and self.background is not None and self.background not in found:
            say(
                f"warning: {self.flag}: none of {len(chosen)} masks, evenly spaced, has the id of "
                f"the background, {self.background}: check --background"
            )

    def without_parts(self, none: str) -> str:
        """The message that there are no parts. none: its beginning."""
        return (
            f"{self.flag}={self.spec}: {none} has a part: all pixels are void or the background "
            f"({self.background}); give a split with parts, or another --background"
        )


def open_images(flag: str, spec: str, background: int | None) -> Images:
    """Opens KIND:PATH with part masks, or else with classes.

    background: the value of --background; by default what is known of the kind.

    Raises:
      UserError: also for a kind whose ids mean a different part in each image.
    """
    kind = spec.partition(":")[0]
    without = [k for k in LABELLED if k not in PART_MASKS]
    if kind not in (*SAME_IDS, *without):
        reason = "is not KIND:PATH" + hint(spec, dict.fromkeys([*SAME_IDS, *without]))
        if kind in PART_MASKS:
            reason = (
                f"has ids of {kind}, which mean a different part in each image, so entries cannot "
                "be named after them"
            )
        raise UserError(
            f"{flag}={spec} {reason}; give masks as {', '.join(SAME_IDS)}, or images without masks "
            f"as {', '.join(without)}"
        )
    try:
        if kind in without:
            labelled = open_labelled(spec)
            check_class_names(labelled)
            return Images(flag, spec, labelled)
        dataset = open_dataset(spec, points=True).with_background(background)
        return Images(flag, spec, dataset, dataset.background)
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None


def check_splits(train: Images, scored: Images) -> None:
    """Raises UserError if both splits are the same images, in part or whole, or if their part ids
    need not mean the same."""
    if train.masks and scored.masks:
        kinds = [x.spec.partition(":")[0] for x in (train, scored)]
        if kinds[0] != kinds[1] and not set(kinds) <= set(DRAWN):
            raise UserError(
                f"--train has masks of the kind {kinds[0]} and --dataset of {kinds[1]}, whose ids "
                "need not mean the same parts: give two splits of one kind"
            )
    if not (train.masks or scored.masks):
        check_apart(train.dataset, scored.dataset)
        return
    shared = _identities(train) & _identities(scored)
    if shared:
        raise UserError(
            f"--train={train.spec} and --dataset={scored.spec} share {len(shared):,} images, which "
            "would be scored by what was learned from them: give another split, or for "
            "procedural_parts another seed, COUNT@SEED"
        )


def _identities(images: Images) -> set:
    """What identifies the images of a data set: their files, or seed and number of drawings."""
    return (
        images.dataset.identities if images.masks else {file.resolve() for file in images.files()}
    )


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def texts_as_bytes(texts: Sequence[str | None]) -> np.ndarray:
    """uint8 [b, 255], so that a store can keep them; a longer text is cut off."""
    table = np.zeros((len(texts), 255), np.uint8)
    for row, text in zip(table, texts, strict=True):
        content = (text or "").encode("utf-8", "surrogateescape")[:255]
        row[: len(content)] = np.frombuffer(content, np.uint8)
    return table


def bytes_as_texts(table: np.ndarray) -> list[str]:
    """The inverse of `texts_as_bytes`; "" for None."""
    return [row.tobytes().rstrip(b"\0").decode("utf-8", "replace") for row in table]
