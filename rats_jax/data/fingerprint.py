"""Fingerprints of data sets: which images, in which order, wherever the files are.

A run's batches are a function of the number and the order of its images, so a run that is resumed
must find the same ones. No image is read: the fingerprint is of their names, or of what else says
the same. A source of one's own may have a method `fingerprint() -> str`.
"""

import hashlib
from collections.abc import Iterable
from itertools import islice

import numpy as np

CHUNK = 100_000  # names that are joined at a time
SAMPLED = 4096  # names that are asked for where the list is not in memory


def fingerprint(source) -> str | None:
    """Of any source: its own, else of the names in `files`; None if it has neither, or if they
    cannot be read.

    `files` may be any object with `files[i]`, which may take a read of the disk for each name, so
    only some names are asked for where it is no list.
    """
    if hasattr(source, "fingerprint"):
        return source.fingerprint()
    if (files := getattr(source, "files", None)) is None:
        return None
    if isinstance(files, list | tuple | np.ndarray):
        return fingerprint_of_names(files)
    count = min(len(source), SAMPLED)
    try:
        return fingerprint_of_names(files[i * len(source) // count] for i in range(count))
    except OSError:
        return None


def fingerprint_of_names(names: Iterable[str]) -> str:
    """16 hexadecimal digits. A million names take about half a second."""
    digest, names = hashlib.sha256(), map(str, names)
    while chunk := list(islice(names, CHUNK)):
        digest.update("".join(f"{name}\0" for name in chunk).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def fingerprint_of_arrays(arrays: Iterable[np.ndarray]) -> str:
    """16 hexadecimal digits, of whole numbers; how they are split into arrays does not count."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()[:16]
