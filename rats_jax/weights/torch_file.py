"""Reads files of torch.save without torch: a zip archive, or the older stream of pickles.

zip      NAME/data.pkl, the object; NAME/data/KEY, the numbers of each storage; NAME/byteorder
stream   pickles of a magic number, a version, the machine, the object, and the storages' keys in
         order; then for each storage a count, int64, and its numbers, always little-endian
"""

import errno
import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from rats_jax.weights.pickle_values import DamagedPickle, Refused, Storage, Tensor, check, one_line
from rats_jax.weights.unpickler import load

ZIP = b"PK\x03\x04"
MAGIC = 0x1950A86A20F9469CFC6C
#: Tensors may share numbers. As float32 arrays they may be at most this many times as large as the
#: file.
MOST_SHARED = 16
CHUNK = 1 << 20


class Saved(NamedTuple):
    """content: the saved object, with a `Tensor` for each tensor; its numbers are not read yet.
    arrays: reads the numbers of some tensors, each storage once, in the dtypes of the file."""

    content: object
    arrays: Callable[[Mapping[str, Tensor]], dict[str, np.ndarray]]


def open_torch(file: BinaryIO) -> Saved:
    """Opens a file of torch.save. The file must stay open for `arrays`. Both raise OSError, and
    Refused if torch.save did not write the file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    is_zip = file.read(len(ZIP)) == ZIP
    file.seek(0)
    with _damage():
        content, read = (_zip if is_zip else _stream)(file, size)

    def arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        numbers = sum(prod(tensor.shape) for tensor in tensors.values())
        check(4 * numbers <= MOST_SHARED * size, "its tensors are larger than it is")
        with _damage():
            used = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
            storages = {key: read(storage) for key, storage in used.items()}
            return {name: _view(t, storages[t.storage.key]) for name, t in tensors.items()}

    return Saved(content, arrays)


def _zip(file: BinaryIO, size: int) -> tuple[object, Callable[[Storage], np.ndarray]]:
    archive = zipfile.ZipFile(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    folders = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise Refused("is a zip archive, but not one of torch.save: name the file of the weights")
    (folder,) = folders
    if f"{folder}/constants.pkl" in entries:
        raise Refused(
            "is a TorchScript program: take its weights alone, with "
            "torch.save(torch.jit.load(...).state_dict(), ...)"
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise Refused("is a compressed archive, as torch.save writes none: torch.save it again")
    check(sum(e.file_size for e in entries.values()) <= size, "its parts are larger than it is")

    def numbers(name: str) -> np.ndarray:
        """The numbers as uint8. Their checksum is verified."""
        check(f"{folder}/{name}" in entries, f"it has no {one_line(name)}")
        entry = entries[f"{folder}/{name}"]
        data = np.empty(entry.file_size, np.uint8)
        with cast(io.BufferedIOBase, archive.open(entry)) as part:
            for start in range(0, len(data), CHUNK):
                there = data[start : start + CHUNK]
                check(part.readinto(there.data) == len(there), f"{one_line(name)} is not all there")
        return data

    content, _ = load(io.BytesIO(numbers("data.pkl").data))
    order = bytes(numbers("byteorder")) if f"{folder}/byteorder" in entries else b"little"
    check(order in (b"little", b"big"), "its byte order")

    def read(storage: Storage) -> np.ndarray:
        data = numbers(f"data/{storage.key}")
        check(len(data) == storage.count * storage.dtype.itemsize, "a storage of another size")
        return _typed(data, storage.dtype, swapped=order == b"big")

    return content, read


def _stream(file: BinaryIO, size: int) -> tuple[object, Callable[[Storage], np.ndarray]]:
    if load(file)[0] != MAGIC:
        raise Refused("is a pickle, but not one of torch.save: name the file of the weights")
    load(file), load(file)  # the version, which is always the same, and the machine
    content, storages = load(file)
    keys, _ = load(file)
    if not isinstance(keys, list):
        raise DamagedPickle("its storages are not listed")
    places = {}
    for key in keys:
        check(type(key) is str and key in storages, "a storage that no tensor has")
        data = file.read(8)
        check(data == struct.pack("<q", storages[key].count), "a storage of another size")
        places[key] = file.tell()
        end = places[key] + storages[key].count * storages[key].dtype.itemsize
        check(end <= size, f"{size:,} bytes, where {end:,} and more are said to be")
        file.seek(end)

    def read(storage: Storage) -> np.ndarray:
        check(storage.key in places, "a storage that is not there")
        file.seek(places[storage.key])
        data = np.empty(storage.count * storage.dtype.itemsize, np.uint8)
        check(
            cast(io.BufferedIOBase, file).readinto(data.data) == len(data),
            "a storage that is not all there",
        )
        return _typed(data, storage.dtype, swapped=False)

    return content, read


def _typed(data: np.ndarray, dtype: np.dtype, *, swapped: bool) -> np.ndarray:
    if swapped:
        data.view(f"u{dtype.itemsize}").byteswap(inplace=True)
    return data.view(dtype)


def _view(tensor: Tensor, storage: np.ndarray) -> np.ndarray:
    """Safe, since `pickle_values` has checked that the tensor is entirely inside the storage."""
    return np.lib.stride_tricks.as_strided(
        storage[tensor.offset :], tensor.shape, [n * storage.itemsize for n in tensor.strides]
    )


@contextmanager
def _damage() -> Iterator[None]:
    """Converts what zipfile and NumPy raise for a damaged file."""
    errors = (zipfile.BadZipFile, EOFError, LookupError, OverflowError, RuntimeError)
    try:
        yield
    except (*errors, TypeError, ValueError, struct.error) as error:
        raise DamagedPickle(one_line(str(error))) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a position before the file's start
            raise
        raise DamagedPickle("its zip archive") from None
