"""Images with a class each, from what training reads as well: `open_labelled("KIND:PATH")`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.command_line import say
from rats_jax.data.decode import UnreadableImage
from rats_jax.data.procedural_parts import SUPER_CATEGORIES, ProceduralParts
from rats_jax.data.records import Records
from rats_jax.data.sources import ImageFolder, Source
from rats_jax.data.tars import Tars
from rats_jax.data.tfds_source import TFDS
from rats_jax.errors import UserError
from rats_jax.paths import printable

FORMS = {
    "image_folder": "image_folder:FOLDER, which holds a folder for each class",
    "records": "records:FOLDER, which python -m rats_jax.prepare has made",
    "tar": "tar:PATH, a tar, a folder of them or a pattern",
    "tfds": "tfds:NAME/SPLIT@DATA_DIR",
    "procedural_parts": "procedural_parts:COUNT, or COUNT@SEED",
}
DRAWN = 128  # pixels of a drawing
HELD_OUT = 5  # one in so many


class LabelledImages(NamedTuple):
    """name: KIND:PATH. classes: names of the labels, where the source has them, else empty."""

    name: str
    source: Source
    classes: Sequence[str]

    def file(self, index: int) -> str:
        """An image's name, for people."""
        files = getattr(self.source, "files", None)
        return f"image {index}" if files is None else printable(files[index])

    def class_name(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else str(label)

    def read(self, index: int) -> tuple[bytes | np.ndarray, int]:
        """An image as its source has it, and its label. Raises BrokenImage."""
        try:
            image, label = self.source[index]
        except (OSError, UnreadableImage) as error:
            raise self.broken(index, getattr(error, "strerror", None) or error) from error
        if label < 0:
            raise self.broken(index, "no label")
        return image, int(label)

    def broken(self, index: int, reason: object) -> "BrokenImage":
        return BrokenImage(printable(f"{self.name}, {self.file(index)}: {reason}"))


class BrokenImage(Exception):
    """An image that cannot be read, or has no label; the message names it."""


def open_labelled(spec: str) -> LabelledImages:
    """Opens KIND:PATH, as --dataset and --train have it.

    image_folder, records, tar: as `config.data.source`, with its path; in an image_folder each
    first-level folder is a class. tfds: NAME/SPLIT@DATA_DIR, such as
    tfds:imagenet2012:5.1.0/validation@/data/tfds. procedural_parts: COUNT@SEED, drawings of
    128 x 128 pixels, their super-categories the classes; seed 0 if none is given.

    Raises:
      UserError: an unknown kind, or what the source finds wrong.
    """
    kind, _, place = spec.partition(":")
    if kind not in FORMS or not place:
        form = FORMS.get(kind, f"KIND:PATH; KIND is one of {', '.join(FORMS)}")
        raise UserError(f"labelled images {spec!r} are not {form}")
    path = os.path.expanduser(place)
    try:
        source = {
            "image_folder": lambda: ImageFolder(path),
            "records": lambda: Records(path),
            "tar": lambda: Tars(path),
            "tfds": lambda: _tfds(place),
            "procedural_parts": lambda: _drawings(place),
        }[kind]()
    except UserError as error:
        raise UserError(printable(f"{spec}: {error}")) from error
    for note in getattr(source, "notes", ()):
        say(note)
    classes = SUPER_CATEGORIES if kind == "procedural_parts" else source.classes
    return LabelledImages(spec, source, tuple(classes))


def _tfds(place: str) -> TFDS:
    what, _, folder = place.partition("@")
    name, _, split = what.rpartition("/")
    if not (name and split and folder):
        raise UserError(f"not {FORMS['tfds']}")
    return TFDS(name, split, Path(folder).expanduser())


def _drawings(place: str) -> ProceduralParts:
    count, at, seed = place.partition("@")
    if not (count.isdecimal() and int(count) and (seed.isdecimal() if at else True)):
        raise UserError(f"not {FORMS['procedural_parts']}")
    return ProceduralParts(size=DRAWN, length=int(count), seed=int(seed or 0))


def labels_as(train: LabelledImages, test: LabelledImages) -> np.ndarray | None:
    """What each label of `test` is in `train`, by the names of the classes, int64 [classes]; None
    where one of them has no names, and labels are compared as they are.

    Raises:
      UserError: a class that cannot be learned, because `train` has none of its name.
    """
    if not (train.classes and test.classes):
        return None
    labels = {name: label for label, name in enumerate(train.classes)}
    unknown = [printable(name) for name in test.classes if name not in labels]
    if unknown:
        raise UserError(
            f"{len(unknown)} of the {len(test.classes)} classes of {test.name} are not in "
            f"{train.name} ({', '.join(unknown[:3])}{', ...' if len(unknown) > 3 else ''}): name "
            "two sets of the same classes"
        )
    return np.array([labels[name] for name in test.classes], np.int64)


def check_apart(train: LabelledImages, test: LabelledImages) -> None:
    """Raises UserError where both are the same images: each would be its own nearest."""
    if _identity(train) == _identity(test):
        apart = "another seed, COUNT@SEED" if train.name.startswith("procedural") else "others"
        raise UserError(
            f"{test.name} would be scored by what {train.name} has learned from, the same images: "
            f"name {apart}"
        )


def _identity(images: LabelledImages) -> tuple[str, object]:
    kind, _, place = images.name.partition(":")
    if kind == "procedural_parts":  # the first pictures of a seed are the same for any count
        return kind, images.source.seed
    return kind, place if kind == "tfds" else os.path.realpath(os.path.expanduser(place))


def held_out(labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Which images are for scoring, bool [N]: a fifth of each class, rounded, drawn by the seed."""
    rng, chosen = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[: round(len(members) / HELD_OUT)]] = True
    return chosen
