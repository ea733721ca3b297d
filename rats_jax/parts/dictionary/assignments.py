"""assignments.npz: which entry each detector was assigned to, from which all scores follow."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.files import replacing
from rats_jax.parts.dictionary.naming import NONE, Names, name_entries
from rats_jax.parts.dictionary.retrieval import rank, tf_idf
from rats_jax.parts.dictionary.scores import Assigned, MeasuredScores, Resampled, measure
from rats_jax.paths import printable

FILE = "assignments.npz"
TRAINING, SCORED = 0, 1  # values of `split`


class Assignments(NamedTuple):
    """The detectors of two splits, R in all.

    image: int32 [R], places in `images`. register: int32 [R], the number of the detector in its
    image. entry: int32 [R], `NONE` for a detector that does not exist (a cluster of patches without
    patches). label: int32 [R], the part, `NONE` for none. split: int8 [R], TRAINING or SCORED.
    images: the names of all images, first those of the training split. groups: their classes, ""
    for none. splits: int8, the split of each image. entries: E, also those that do not occur.
    """

    image: np.ndarray
    register: np.ndarray
    entry: np.ndarray
    label: np.ndarray
    split: np.ndarray
    images: np.ndarray
    groups: np.ndarray
    splits: np.ndarray
    entries: int

    def of(self, split: int) -> Assigned:
        """The detectors of one split, with images numbered from 0."""
        chosen = self.split == split
        places = np.flatnonzero(self.splits == split)
        image = np.searchsorted(places, self.image[chosen])
        entry, label = self.entry[chosen], self.label[chosen]
        return Assigned(image, entry, label, len(places), self.entries)

    def groups_of(self, split: int) -> list[str]:
        return self.groups[self.splits == split].tolist()


class OfSplit(NamedTuple):
    """entry, label: int [S, N]. names, groups: of the S images, a group may be None."""

    entry: np.ndarray
    label: np.ndarray
    names: Sequence[str]
    groups: Sequence[str | None]


def joined(training: OfSplit, scored: OfSplit, *, entries: int) -> Assignments:
    """The assignments of two splits."""
    both = (training, scored)
    images = len(training.names) + len(scored.names)
    detectors = training.entry.shape[1]

    def texts(parts: Sequence[Sequence[str | None]]) -> np.ndarray:
        return np.array([printable(text or "") for part in parts for text in part], np.str_)

    splits = np.repeat(np.array([TRAINING, SCORED], np.int8), [len(x.names) for x in both])
    return Assignments(
        np.repeat(np.arange(images, dtype=np.int32), detectors),
        np.tile(np.arange(detectors, dtype=np.int32), images),
        np.concatenate([x.entry.ravel() for x in both]).astype(np.int32),
        np.concatenate([x.label.ravel() for x in both]).astype(np.int32),
        np.repeat(splits, detectors),
        texts([x.names for x in both]),
        texts([x.groups for x in both]),
        splits,
        entries,
    )


def write(file: Path, assignments: Assignments) -> None:
    """Writes an archive of NumPy arrays with the names of the fields."""
    with replacing(file) as new, new.open("wb") as out:
        np.savez_compressed(out, **assignments._asdict())


def read(file: Path) -> Assignments:
    """Reads what `write` has written. Raises UserError."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in Assignments._fields}
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{printable(str(file))} cannot be read ({reason}): give another") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(
            f"{printable(str(file))} is damaged: make it again with rats dictionary"
        ) from None
    return Assignments(**found | {"entries": int(found["entries"])})


def names_of(assignments: Assignments) -> Names | None:
    """The names of the entries, by the training split; None if it has no labels."""
    training = assignments.of(TRAINING)
    if (training.label == NONE).all():
        return None
    return name_entries(training.entry, training.label, entries=assignments.entries)


def scores_of(assignments: Assignments) -> MeasuredScores:
    """All scores, from the assignments alone."""
    return resampled_scores(assignments).measured()


def resampled_scores(assignments: Assignments) -> Resampled:
    """As `scores_of`, with what differences to other rows need."""
    scored, names = assignments.of(SCORED), names_of(assignments)
    groups = assignments.groups_of(SCORED)
    ranked = None
    if any(groups):
        size = {"images": scored.images, "entries": scored.entries}
        ranked = rank(tf_idf(scored.image, scored.entry, **size), groups)
    return measure(scored, None if names is None else names.labels, ranked)
