"""Masks of instances in a window, packed: one bit for each pixel."""

from typing import NamedTuple

import numpy as np

from rats_jax.segmentation.crops import Window, nearest


class Packed(NamedTuple):
    """The rows of a window that a mask reaches.

    start: the first row. bits: uint8 [n, ceil(S / 8)], the rows from there on, `np.packbits`.
    pixels: how many are in the mask.
    """

    start: int
    bits: np.ndarray
    pixels: int


def packed(mask: np.ndarray, window: Window, *, flip: bool, side: int) -> Packed | None:
    """The part of a mask, bool [h, w], in a window, mirrored if `flip`; None if there is none.

    Each row of the mask is resized and packed once, and then repeated as often as the window needs
    it.
    """
    rows, columns = nearest(window, mask.shape)
    first, last = rows[0], rows[-1] + 1
    of_rows = np.flatnonzero(mask[first:last].any(1)) + first
    if not of_rows.size:
        return None
    inner = mask[of_rows[0] : of_rows[-1] + 1]
    of_columns = np.flatnonzero(inner.any(0))
    top, bottom = np.searchsorted(rows, (of_rows[0], of_rows[-1] + 1))
    left, right = np.searchsorted(columns, (of_columns[0], of_columns[-1] + 1))
    part = inner.take(columns[left:right], 1)
    counts, times = np.count_nonzero(part, axis=1), rows[top:bottom] - of_rows[0]
    pixels = int(counts[times].sum())
    if not pixels:
        return None
    wide = np.zeros((len(inner), side), bool)
    width = window.size[1]
    if flip:
        wide[:, width - right : width - left] = part[:, ::-1]
    else:
        wide[:, left:right] = part
    return Packed(int(top), np.packbits(wide, axis=1).take(times, 0), pixels)
