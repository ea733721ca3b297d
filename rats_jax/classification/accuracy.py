"""How often the right class is the first, or among the first five."""

from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError

RANKS = 5


class Accuracy(NamedTuple):
    """Fractions of the images scored."""

    top1: float
    top5: float


def accuracy(ranked: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Of predictions int [N, at most 5], the likeliest class first, and labels [N]."""
    right = ranked == labels[:, None]
    return Accuracy(float(right[:, 0].mean()), float(right.any(1).mean()))


def majority(learned: np.ndarray, labels: np.ndarray) -> Accuracy:
    """What is right by naming the commonest classes of `learned` for every image, of equals the
    lowest: the null baseline."""
    classes, counts = np.unique(learned, return_counts=True)
    commonest = classes[np.argsort(-counts, kind="stable")][:RANKS]
    return accuracy(np.broadcast_to(commonest, (len(labels), len(commonest))), labels)


def places_of(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Where each label is among the sorted `classes`, int64 [N]; -1 where it is not."""
    places = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    return np.where(classes[places] == labels, places, -1)


def check_classes(learned: np.ndarray, scored: int, *, of: str) -> None:
    """Raises UserError where the labels `learned` from, those of `of`, are of one class, or nothing
    is scored."""
    if len(np.unique(learned)) < 2:
        tars = "; in a tar, .cls or .json must hold whole numbers" if of.startswith("tar:") else ""
        raise UserError(f"{of} has images of fewer than two classes: name images of several{tars}")
    if not scored:
        raise UserError(f"a fifth of each class of {of} is no image at all: name more, or --train")


def label_warnings(learned: np.ndarray, labels: np.ndarray, *, of: str) -> list[str]:
    """How many of the images scored can only be missed, as nothing in `of` has their labels; how
    many of its classes are not scored; and that a single class is. A line each. Raises UserError
    where all can only be missed."""
    known, scored, images = np.unique(learned), np.unique(labels), f"{len(labels)} images"
    lines = []
    if not np.isin(labels, known).any():
        raise UserError(
            f"none of the {images} scored has a label of {of}, so that every model would score 0: "
            "name two sets of the same classes"
        )
    if strangers := np.count_nonzero(~np.isin(labels, known)):
        lines.append(f"{strangers} of {images} are of classes that {of} has no image of")
    if missing := np.count_nonzero(~np.isin(known, scored)):
        lines.append(f"{missing} of {len(known)} classes have no image that is scored")
    if len(scored) == 1:
        lines.append(f"all {images} that are scored are of one class")
    return [f"warning: {line}" for line in lines]
