"""Fingerprints of data sets: they identify the images and their order, not where the files are.

A run's batches are a function of the number and the order of its images, so a resumed run must
find the same images. No image is read: the fingerprint is computed from their names, or from
equivalent information. A custom source may have a method `fingerprint() -> str`.
"""

import hashlib
from collections.abc import Iterable
from itertools import islice

import numpy as np

CHUNK = 100_000  # number of names that are joined at a time
SAMPLED = 4096  # number of names that are read if the list is not in memory


def fingerprint(source) -> str | None:
    """The fingerprint of any source, from its method `fingerprint` or else the names in `files`.

    None if the source has neither, or if the names cannot be read. `files` may be any object with
    `files[i]`. If it is not a list, a name may need a read of the disk, so only some are read.
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
    """Returns 16 hexadecimal digits. A million names take about half a second."""
    digest, names = hashlib.sha256(), map(str, names)
    while chunk := list(islice(names, CHUNK)):
        digest.update("".join(f"{name}\0" for name in chunk).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def fingerprint_of_arrays(arrays: Iterable[np.ndarray]) -> str:
    """Returns 16 hexadecimal digits for arrays of integers. It does not matter how the numbers are
    split into arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()[:16]
