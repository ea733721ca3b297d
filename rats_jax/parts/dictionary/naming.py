"""Part labels of detectors by their maps, and names of entries by the votes of these labels.

Letters: P parts of an image, N detectors, L = h w patches (row by row), R detectors of all images,
E entries.
"""

from typing import NamedTuple

import numpy as np

from rats_jax.parts.regions import Size, resize_labels

NONE = -1  # the label of a detector without a part, and of an entry without a name
LEAST = 3  # an entry with fewer votes has no name, and no purity
_DECIMALS = 9  # mean values that are equal to so many decimals are ties, as rounding would be


class Parts(NamedTuple):
    """The parts of an image on its patch grid.

    ids: int32 [P], ascending; without void and background. counts: int64 [P, L], the pixels of each
    part in each patch. pixels: int64 [L], the pixels in each patch that are not void.
    """

    ids: np.ndarray
    counts: np.ndarray
    pixels: np.ndarray


def parts_of(
    mask: np.ndarray, *, grid: Size, void: int | None = None, background: int | None = None
) -> Parts:
    """The parts of a mask [height, width]. A pixel belongs to the patch that `resize_labels` would
    fill it from."""
    length = grid[0] * grid[1]
    patch = resize_labels(np.arange(length).reshape(grid), mask.shape).ravel()
    found, part = np.unique(mask, return_inverse=True)
    counts = np.bincount(part.ravel() * length + patch, minlength=len(found) * length)
    kept = ~np.isin(found, [x for x in (void, background) if x is not None])
    counts = counts.reshape(len(found), length)
    pixels = counts.sum(0) if void is None else counts[found != void].sum(0)
    return Parts(found[kept].astype(np.int32), counts[kept], pixels)


def labels_of(maps: np.ndarray, parts: Parts) -> np.ndarray:
    """The label of each detector of an image, int32 [N]: the part in whose mask the mean of the
    detector's map is highest; of equal means, the lowest id. NONE if the image has no part, or if
    the map is 0 in all of them.

    maps: [N, L], at least 0.
    """
    if not len(parts.ids):
        return np.full(len(maps), NONE, np.int32)
    sums = maps.astype(np.float64) @ parts.counts.T
    means = np.round(sums / parts.counts.sum(1), _DECIMALS)
    return np.where(means.max(1) > 0, parts.ids[means.argmax(1)], NONE).astype(np.int32)


def peaks_in_parts(maps: np.ndarray, parts: Parts) -> np.ndarray:
    """Whether the peak of each map [N, L] is in a foreground part, bool [N]: whether at least half
    of the labelled pixels of the patch of its largest value are of parts. If several patches have
    this value, those of all of them count. False for a map of zeros, and without such a pixel."""
    highest = maps.max(1, keepdims=True)
    peak = ((maps == highest) & (highest > 0)).astype(np.float64)
    of_parts = peak @ parts.counts.sum(0)
    return (2 * of_parts >= peak @ parts.pixels) & (of_parts > 0)


class Names(NamedTuple):
    """labels: int32 [E], the part that an entry is named after, NONE for none. purity: float32 [E],
    the share of this part among the votes, NaN for entries without a name. counts: int64 [E], all
    detectors of the entry, also those without a vote."""

    labels: np.ndarray
    purity: np.ndarray
    counts: np.ndarray


def name_entries(entry: np.ndarray, label: np.ndarray, *, entries: int) -> Names:
    """Names entries by the votes of their detectors: the most frequent label, of equally frequent
    ones the lowest id. An entry with fewer than LEAST votes has no name.

    entry, label: int [R]. A detector whose label is NONE has no vote; one whose entry is NONE does
    not exist.
    """
    exists = entry != NONE
    counts = np.bincount(entry[exists], minlength=entries)
    voters, most, first = most_frequent(entry, label, entries=entries)
    named = voters >= LEAST
    purity = np.where(named, most / np.maximum(voters, 1), np.nan).astype(np.float32)
    return Names(np.where(named, first, NONE).astype(np.int32), purity, counts.astype(np.int64))


def most_frequent(
    entry: np.ndarray, label: np.ndarray, *, entries: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each entry: its number of votes, those for its most frequent label, and this label (the
    lowest of equally frequent ones, NONE without votes), each int64 [E]."""
    votes = (entry != NONE) & (label != NONE)
    pairs, count = np.unique(np.stack([entry[votes], label[votes]], 1), axis=0, return_counts=True)
    voters = np.bincount(pairs[:, 0], count, minlength=entries).astype(np.int64)
    # by entry, then by falling count, then by label: the first of each entry is its winner
    order = np.lexsort((pairs[:, 1], -count, pairs[:, 0]))
    winner, at = np.unique(pairs[order, 0], return_index=True)
    most, first = np.zeros(entries, np.int64), np.full(entries, NONE, np.int64)
    most[winner], first[winner] = count[order][at], pairs[order, 1][at]
    return voters, most, first
