"""Images with one class each, from the same sources as training: `open_labelled("KIND:PATH")`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.data.decode import UnreadableImage
from rats_jax.data.kinds import kind_and_place
from rats_jax.data.source_kinds import SOURCES
from rats_jax.data.sources import ImageFolder, OfOtherKind, Source
from rats_jax.data.subset import Subset, evenly
from rats_jax.errors import BrokenImage, UserError
from rats_jax.paths import printable
from rats_jax.voice import say

HELD_OUT = 5  # one image in 5 is held out
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


class LabelledImages(NamedTuple):
    """name: KIND:PATH. classes: names of the labels; empty if the source has no names."""

    name: str
    source: Source
    classes: Sequence[str]

    @property
    def folders(self) -> list[Path]:
        """The folders whose images are all read."""
        return [self.source.root] if isinstance(self.source, ImageFolder) else []

    def file(self, index: int) -> str:
        """An image's name, for messages."""
        files = getattr(self.source, "files", None)
        return f"image {index}" if files is None else printable(files[index])

    def class_name(self, label: int) -> str:
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)

    def read(self, index: int) -> tuple[bytes | np.ndarray, int]:
        """An image as its source returns it, and its label. Raises BrokenImage."""
        try:
            image, label = self.source[index]
        except (OSError, UnreadableImage) as error:
            raise self.broken(index, getattr(error, "strerror", None) or error) from error
        if label < 0:
            raise self.broken(index, "no label")
        if label >= 2**63:
            raise self.broken(index, f"its label, {label}, is 2**63 or more")
        return image, int(label)

    def limited(self, most: int | None) -> "LabelledImages":
        """At most `most` of the images, evenly spaced; all for None."""
        if most is None:
            return self
        return self._replace(source=Subset(self.source, evenly(len(self.source), most)))

    def broken(self, index: int, reason: object) -> "BrokenImage":
        return BrokenImage(printable(f"{self.name}, {self.file(index)}: {reason}"))


def open_labelled(spec: str) -> LabelledImages:
    """Opens KIND:PATH, the format of --dataset and --train.

    The kinds are those of `data.source_kinds`: image_folder, records and tar with a path; in an
    image_folder each first-level folder is a class. tfds: NAME/SPLIT@DATA_DIR, such as
    tfds:imagenet2012:5.1.0/validation@/data/tfds. procedural_parts: COUNT@SEED, drawings of
    128 x 128 pixels whose classes are their super-categories; the default seed is 0.

    Raises:
      UserError: the kind is unknown, or the source reports an error.
    """
    kind, place = kind_and_place(spec, wanted="labelled images")
    try:
        source = SOURCES[kind].open_place(place)
    except OfOtherKind as error:
        raise UserError(printable(f"{spec}: {error}, or write {error.kind}:{place}")) from error
    except UserError as error:
        raise UserError(printable(f"{spec}: {error}")) from error
    except OSError as error:
        raise UserError(printable(f"{spec} cannot be read ({error.strerror})")) from error
    for note in getattr(source, "notes", ()):
        say(note)
    return LabelledImages(spec, source, tuple(getattr(source, "classes", ())))


def labels_as(train: LabelledImages, test: LabelledImages) -> np.ndarray | None:
    """The label in `train` of each label of `test`, by class names, int64 [classes]; None if one of
    them has no class names, and labels are compared as they are.

    Raises:
      UserError: a class of `test` cannot be learned, because `train` has no class of its name.
    """
    if not (train.classes and test.classes):
        return None
    labels = {name: label for label, name in enumerate(train.classes)}
    unknown = [
        printable(name) or "images in no folder" for name in test.classes if name not in labels
    ]
    if unknown:
        raise UserError(
            f"{len(unknown)} of the {len(test.classes)} classes of {test.name} are not in "
            f"{train.name} ({', '.join(unknown[:3])}{', ...' if len(unknown) > 3 else ''}): give "
            "two sets with the same classes"
        )
    return np.array([labels[name] for name in test.classes], np.int64)


def check_class_names(images: LabelledImages) -> None:
    """Raises UserError if all classes are named like splits: the folder is one level too high."""
    names = [name for name in images.classes if name]
    if names and all(name.lower() in SPLITS for name in names):
        is_folder = images.name.startswith("image_folder:")
        such_as = f", such as {images.name.rstrip('/')}/{names[0]}" if is_folder else ""
        raise UserError(
            f"{images.name} has the classes {', '.join(names)}, which are names of splits: give "
            f"the images of one split{such_as}"
        )


def relabelled(labels: np.ndarray, as_learned: np.ndarray | None, *, of: str) -> np.ndarray:
    """Labels of the set `of`, mapped by the result of `labels_as`. UserError for a label without a
    name."""
    if as_learned is None:
        return labels
    if len(labels) and labels.max() >= len(as_learned):
        raise UserError(
            f"{of} has an image with label {labels.max()}, but names of only {len(as_learned)} "
            "classes: prepare it again"
        )
    return as_learned[labels]


def check_apart(train: LabelledImages, test: LabelledImages) -> None:
    """Raises UserError if both are the same images: each would be its own nearest neighbour."""
    if _identity(train) == _identity(test):
        apart = "another seed, COUNT@SEED" if train.name.startswith("procedural") else "others"
        raise UserError(
            f"{test.name} and {train.name} are the same images, so the images to score would be "
            f"among those to learn from: give {apart}"
        )


def _identity(images: LabelledImages) -> tuple[str, object]:
    kind, _, place = images.name.partition(":")
    return kind, SOURCES[kind].which(place)


def held_out(labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Which images are scored, bool [N]: a random fifth of each class, rounded."""
    rng, chosen = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[: round(len(members) / HELD_OUT)]] = True
    return chosen
