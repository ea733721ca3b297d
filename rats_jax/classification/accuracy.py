"""How often the correct class is ranked first, or among the first five."""

from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError

RANKS = 5


class Accuracy(NamedTuple):
    """Fractions of the scored images."""

    top1: float
    top5: float


def accuracy(ranked: np.ndarray, labels: np.ndarray) -> Accuracy:
    """The accuracy of predictions, int [N, at most 5], the likeliest class first; labels [N]."""
    right = ranked == labels[:, None]
    return Accuracy(float(right[:, 0].mean()), float(right.any(1).mean()))


def majority(learned: np.ndarray, labels: np.ndarray) -> Accuracy:
    """The null baseline: the accuracy of predicting the most common classes of `learned` for every
    image (ties: the lowest class first)."""
    classes, counts = np.unique(learned, return_counts=True)
    commonest = classes[np.argsort(-counts, kind="stable")][:RANKS]
    return accuracy(np.broadcast_to(commonest, (len(labels), len(commonest))), labels)


def places_of(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The index of each label in the sorted `classes`, int64 [N]; -1 for a label not among them."""
    places = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    return np.where(classes[places] == labels, places, -1)


def check_classes(learned: np.ndarray, scored: int, *, of: str) -> None:
    """Raises UserError if `learned`, the training labels from the set `of`, has fewer than two
    classes, or if no image is scored."""
    if len(np.unique(learned)) < 2:
        tars = "; in a tar, .cls or .json must hold whole numbers" if of.startswith("tar:") else ""
        raise UserError(
            f"{of} has images of fewer than two classes: give images of several classes{tars}"
        )
    if not scored:
        raise UserError(
            f"a fifth of each class of {of} is less than one image: give more images, or a "
            "training set with --train"
        )


def label_warnings(learned: np.ndarray, labels: np.ndarray, *, of: str) -> list[str]:
    """Warnings, one line each: how many scored images have a label that no image of `of` has, so
    that they are always wrong; how many classes of `of` are not scored; that only one class is
    scored. Raises UserError if all scored images are always wrong."""
    known, scored, images = np.unique(learned), np.unique(labels), f"{len(labels)} images"
    lines = []
    if not np.isin(labels, known).any():
        raise UserError(
            f"none of the {images} that are scored has a label of {of}, so every model would score "
            "0: give two sets with the same classes"
        )
    if strangers := np.count_nonzero(~np.isin(labels, known)):
        lines.append(f"{strangers} of {images} are of classes of which {of} has no image")
    if missing := np.count_nonzero(~np.isin(known, scored)):
        lines.append(f"{missing} of {len(known)} classes have no image among those that are scored")
    if len(scored) == 1:
        lines.append(f"all {images} that are scored are of one class")
    return [f"warning: {line}" for line in lines]
