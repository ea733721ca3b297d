"""COCO's run-length encoding of binary masks, without pycocotools.

Runs alternate between 0 and 1, starting with 0, down the columns, from left to right. In a list
they are plain numbers. In a string each is a number in base 32, the lowest five bits first. A
character is 48 + five bits, + 32 if more follow; the highest bit of the last one is the sign. From
the fourth run on, the number is the difference from the run two before (pycocotools, maskApi.c).
"""

from typing import Any

import numpy as np

_LONGEST = 7  # characters of a number: 35 bits, and pycocotools writes 32


def decode_rle(counts: Any, size: tuple[int, int]) -> np.ndarray:
    """Bool [h, w] from counts, a list or a string, and the size (h, w).

    Raises:
      ValueError: the mask is invalid; the message gives the reason and continues a sentence that
        starts with "mask".
    """
    height, width = size
    runs = decompress(counts) if isinstance(counts, str | bytes) else _whole(counts)
    if (runs < 0).any():
        raise ValueError("has a corrupt RLE: a run is negative")
    if (total := sum(runs.tolist())) != height * width:  # NumPy's sum could overflow and match
        raise ValueError(
            f"has a corrupt RLE: its runs sum to {total}, but {height} x {width} is "
            f"{height * width}"
        )
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return pixels.reshape(width, height).T


def _whole(counts: Any) -> np.ndarray:
    """The integer runs in a list of numbers."""
    try:
        runs = np.asarray(counts)
        if runs.dtype.kind == "f" and (runs == runs.clip(-(2**53), 2**53).round()).all():
            runs = runs.astype(np.int64)  # 12.0, as some tools write
    except ValueError:  # ragged
        runs = np.zeros(0)
    if runs.ndim != 1 or runs.dtype.kind not in "iu":
        raise ValueError("has RLE counts that are neither integers nor a string")
    return runs


def decompress(counts: str | bytes) -> np.ndarray:
    """The runs, int64, in a compressed string; ValueError as in `decode_rle`."""
    if isinstance(counts, str):
        if counts.startswith("b'") and counts.endswith("'"):  # str() of bytes, by mistake
            counts = counts[2:-1].replace("\\\\", "\\")
        try:
            counts = counts.encode("ascii")
        except UnicodeEncodeError:
            raise ValueError("has a corrupt RLE: it is not ASCII") from None
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if digits.size == 0:
        return digits
    if digits.min() < 0 or digits.max() >= 64:
        raise ValueError("has a corrupt RLE: it contains an invalid character")
    ends = np.flatnonzero(digits < 32)
    if ends.size == 0 or ends[-1] != len(digits) - 1:
        raise ValueError("has a corrupt RLE: it is cut short")
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends + 1 - starts
    if lengths.max() > _LONGEST:
        raise ValueError("has a corrupt RLE: a number is too long")
    places = np.arange(len(digits)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((digits & 31) << (5 * places), starts)
    runs -= np.where(digits[ends] & 16, 1 << (5 * lengths), 0)
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs
