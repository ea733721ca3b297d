"""Images with the truth of segmentation: what decoders are trained on and scored with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from rats_jax.data.decode import UnreadableImage
from rats_jax.data.fingerprint import fingerprint_of_names
from rats_jax.data.subset import evenly
from rats_jax.errors import UserError
from rats_jax.paths import printable
from rats_jax.segmentation.interface import Segmented

Task = Literal["semantic", "instance"]


class Truths(Protocol):
    """The images of a data set, and how the truth of each is read. Picklable, and safe to read from
    several threads."""

    @property
    def names(self) -> Sequence[str]:
        """Of the images, in their order."""
        ...

    @property
    def identities(self) -> set:
        """What distinguishes images, also those of different data sets."""
        ...

    @property
    def world(self) -> str:
        """Identifies the images, together with their names; "" for files."""
        ...

    def read(self, i: int) -> Segmented:
        """The i-th image; UserError if it is broken."""
        ...

    def size(self, i: int) -> tuple[int, int] | None:
        """(height, width) of the i-th image, upright, from the head of its file; None if it is not
        known."""
        ...

    def subset(self, indices: Sequence[int]) -> "Truths": ...

    def annotated(self) -> Sequence[int]:
        """The indices of the images that have something to learn, as far as that is known without
        reading them."""
        ...


@dataclass(frozen=True)
class SegmentationSet:
    """Images with label maps (semantic) or with instances.

    Attributes:
      name: of the data set and its split.
      task: semantic or instance.
      classes: names of the classes; `Segmented` has places in this tuple.
      ids: the id of each class in the files.
      rule: how the files become classes and instances; recorded with results.
      notes: what was left out or looks like a mistake, one line each.
      truths: the images.
      ids_found: whether the classes are the ids that occur in the files, so that another part of
        the data may have others.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    ids: tuple[int, ...]
    rule: str
    notes: tuple[str, ...]
    truths: Truths
    ids_found: bool = False

    def __len__(self) -> int:
        return len(self.truths.names)

    @property
    def files(self) -> Sequence[str]:
        """The names of the images."""
        return self.truths.names

    @property
    def about(self) -> dict:
        """What results record about the data set, as plain values."""
        return {
            "name": self.name,
            "task": self.task,
            "images": len(self),
            "classes": dict(zip(map(str, self.ids), self.classes, strict=True)),
            "rule": self.rule,
            "notes": list(self.notes),
        }

    def fingerprint(self) -> str:
        """Identifies the images, their order, and the classes."""
        classes = (f"{id}:{name}" for id, name in zip(self.ids, self.classes, strict=True))
        return fingerprint_of_names([self.task, self.truths.world, *classes, *self.files])

    def sample(self, i: int) -> Segmented:
        """The i-th image with its truth.

        Raises:
          UserError: the image or its truth is broken, or it holds a class that is not one of
            `classes`: one line that names it.
        """
        try:
            return self.truths.read(i)
        except UserError as error:
            raise UserError(printable(str(error))) from error  # names may contain line breaks

    def size(self, i: int) -> tuple[int, int] | None:
        """(height, width) of the i-th image, without decoding it; None if it is not known."""
        return self.truths.size(i)

    def limited(self, most: int | None) -> "SegmentationSet":
        """At most `most` of the images, evenly spaced; all for None and 0."""
        if not most:
            return self
        chosen = evenly(len(self), most).tolist()
        return replace(self, truths=self.truths.subset(chosen))

    def for_training(self) -> "SegmentationSet":
        """Without the images that have nothing to learn, as far as that is known without reading
        them; a note says how many they are.

        Raises:
          UserError: nothing is left.
        """
        kept = self.truths.annotated()
        if len(kept) == len(self):
            return self
        if not kept:
            raise UserError(
                f"{self.name}: none of its {len(self):,} images has anything of its classes; give "
                "other images, or other config.data.classes"
            )
        left = f"{len(self) - len(kept):,} of {len(self):,} images"
        note = f"{left} have nothing of the classes, and are not used for training"
        return replace(self, truths=self.truths.subset(kept), notes=(*self.notes, note))


class SegmentationSource:
    """The images of a set that training uses, as a source of the input pipeline: `source[i]` is
    (Segmented, 0). An image without a labelled pixel or an instance counts as unreadable, so that
    another takes its place.

    Attributes:
      dataset: the set, `for_training`.
      files, notes: of this set.
    """

    def __init__(self, dataset: SegmentationSet):
        self.dataset = dataset.for_training()

    @property
    def files(self) -> Sequence[str]:
        return self.dataset.files

    @property
    def notes(self) -> list[str]:
        return list(self.dataset.notes)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int, /) -> tuple[Segmented, int]:
        try:
            sample = self.dataset.sample(index)
        except UserError as error:
            raise UnreadableImage(str(error)) from error
        if why := nothing_in(sample):
            raise UnreadableImage(why)
        return sample, 0

    def fingerprint(self) -> str:
        return self.dataset.fingerprint()


def nothing_in(sample: Segmented) -> str:
    """Why a sample has nothing to learn; "" if it has something."""
    if sample.labels is not None:
        return "" if (sample.labels >= 0).any() else "no pixel is labelled"
    assert sample.masks is not None and sample.crowd is not None
    single = sample.masks[~sample.crowd]
    return "" if single.any() else "no instance"
