"""What lies where in a tar: its members, and an index of its images that is kept beside it."""

import json
import os
import tarfile
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import BinaryIO

import numpy as np

from rats_jax.data.sources import is_image
from rats_jax.errors import UserError

COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
UNLABELLED = -1
FORMAT = 1


def list_members(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """The regular files in an uncompressed tar that begins where `file` stands, as they lie.

    Yields name, offset and size of each. Offsets are absolute in `file`, so that a tar within a
    tar is listed after a seek to its offset. `file` may be read from elsewhere between two.

    Raises:
      tarfile.ReadError: no tar, compressed, damaged or cut short. The message goes on after the
        name of the file.
    """
    start = file.tell()
    if file.read(6).startswith(COMPRESSED):
        raise tarfile.ReadError("is compressed; unpack it first, with gunzip, unzstd or the like")
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # a million of them would be half a gigabyte
                if member.isreg():
                    yield member.name, member.offset_data, member.size
            # tarfile takes a header that it does not understand for the end.
            file.seek(tar.offset)
            whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except (tarfile.TarError, ValueError) as error:
        raise tarfile.ReadError(f"is no tar, or a damaged one ({error}); get it again") from error
    if not whole:
        raise tarfile.ReadError(f"is cut short or damaged at byte {tar.offset}; get it again")


@dataclass
class TarIndex:
    """The images of one tar: arrays of one entry an image, int64.

    `names` are all names in one after the other (uint8, UTF-8); `ends` is where each one ends.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    ends: np.ndarray

    def name(self, i: int) -> str:
        start = self.ends[i - 1] if i else 0
        name = self.names[start : self.ends[i]].tobytes()
        return name.decode(errors="surrogateescape")


def load_index(tar: str) -> TarIndex:
    """The kept index of a tar if it is of this tar, else a new one, kept if possible."""
    path = f"{tar}.index"
    try:
        stat = os.stat(tar)
        key = np.array([FORMAT, stat.st_size, stat.st_mtime_ns])
        kept = _read_index(path, key)
        if kept:
            return kept
        with open(tar, "rb") as file:
            index = _make_index(file)
    except tarfile.ReadError as error:
        raise UserError(f"{tar} {error}") from error
    except OSError as error:
        raise UserError(f"{tar} cannot be read ({error.strerror}); make it readable") from error
    _keep_index(path, key, index)
    return index


def _read_index(path: str, key: np.ndarray) -> TarIndex | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            if np.array_equal(kept["key"], key):
                return TarIndex(**{name: kept[name] for name in kept if name != "key"})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        pass  # none yet, or a damaged one
    return None


def _keep_index(path: str, key: np.ndarray, index: TarIndex) -> None:
    unfinished = f"{path}.{uuid.uuid4().hex}"  # another host may be listing the same tar
    try:
        with open(unfinished, "xb") as file:
            np.savez(file, key=key, **asdict(index))
        os.replace(unfinished, path)
    except OSError:  # a folder that cannot be written to, or is full
        if os.path.exists(unfinished):
            os.remove(unfinished)


def _make_index(file: BinaryIO) -> TarIndex:
    names, offsets, sizes = [], [], []
    labels = {".cls": {}, ".json": {}}
    for name, offset, size in list_members(file):
        name = name.removeprefix("./")
        stem, extension = os.path.splitext(name)
        if is_image(name):
            names.append(name)
            offsets.append(offset)
            sizes.append(size)
        elif extension in labels:
            file.seek(offset)
            label = _parse_label(extension, file.read(size))
            if label is not None:
                labels[extension][stem] = label
    encoded = [name.encode(errors="surrogateescape") for name in names]
    return TarIndex(
        offsets=np.array(offsets, np.int64),
        sizes=np.array(sizes, np.int64),
        labels=np.array([_find_label(labels, name) for name in names], np.int64),
        names=np.frombuffer(b"".join(encoded), np.uint8),
        ends=np.cumsum([len(name) for name in encoded], dtype=np.int64),
    )


def _parse_label(extension: str, content: bytes) -> int | None:
    try:
        label = int(content) if extension == ".cls" else json.loads(content)["label"]
    except (ValueError, TypeError, KeyError):
        return None
    return label if type(label) is int and 0 <= label < 2**63 else None


def _find_label(labels: dict[str, dict[str, int]], name: str) -> int:
    folder, slash, file = name.rpartition("/")
    # The key of a WebDataset ends at the first dot; of a plain file, at the last.
    for stem in (os.path.splitext(name)[0], folder + slash + file.split(".")[0]):
        for given in labels.values():
            if stem in given:
                return given[stem]
    return UNLABELLED
