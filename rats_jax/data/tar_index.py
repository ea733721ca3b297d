"""The index of a tar: where its images are. It is stored next to the tar."""

import json
import os
import tarfile
import uuid
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import numpy as np

from rats_jax.data.passed_over import BAD_LABEL, LONE_LABEL, PassedOver, why_passed_over
from rats_jax.data.sources import is_image
from rats_jax.data.tar_members import Files, list_tars
from rats_jax.errors import UserError
from rats_jax.files import replacing
from rats_jax.paths import printable

UNLABELLED = -1
FORMAT = 3  # 1 lacks what follows the first end mark; 2 has wrong names for incremental tars
LABELS = (".json", ".cls")  # the latter takes precedence
LARGEST_LABEL = 1 << 20  # bytes: larger JSON is not the label of one image


@dataclass
class TarIndex:
    """The images of one tar: int64 arrays with one entry per image.

    `names` is the concatenation of all names (uint8, UTF-8); `ends` is where each name ends in it.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    ends: np.ndarray
    passed_over: PassedOver = field(default_factory=PassedOver)

    def name(self, i: int) -> str:
        start = self.ends[i - 1] if i else 0
        name = self.names[start : self.ends[i]].tobytes()
        return name.decode(errors="surrogateescape")


ARRAYS = ("offsets", "sizes", "labels", "names", "ends")


def load_index(tar: str) -> TarIndex:
    """The stored index of a tar if it matches the tar; else a new one, stored if possible."""
    path = f"{tar}.index"
    try:
        stat = os.stat(tar)
        if not S_ISREG(stat.st_mode):  # opening a pipe would wait for its writer
            raise UserError(printable(f"{tar} is not a file; give an uncompressed .tar"))
        key = np.array([FORMAT, stat.st_size, stat.st_mtime_ns])
        kept = _read_index(path, key)
        if kept:
            return kept
        with open(tar, "rb") as file:
            index = _make_index(file)
    except tarfile.ReadError as error:
        raise UserError(printable(f"{tar} {error}")) from error
    except OSError as error:
        raise UserError(
            printable(f"{tar} cannot be read ({error.strerror}); make it readable")
        ) from error
    _keep_index(path, key, index)
    return index


def _read_index(path: str, key: np.ndarray) -> TarIndex | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            if np.array_equal(kept["key"], key):
                found = json.loads(kept["passed_over"].tobytes())
                arrays = {name: kept[name] for name in ARRAYS}
                return TarIndex(**arrays, passed_over=PassedOver(found))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        pass  # no index yet, or a damaged one
    return None


def _keep_index(path: str, key: np.ndarray, index: TarIndex) -> None:
    arrays = {name: getattr(index, name) for name in ARRAYS}
    passed_over = np.frombuffer(json.dumps(index.passed_over.found).encode(), np.uint8)
    new = Path(f"{path}.{uuid.uuid4().hex}")  # another host may list the same tar at this time
    # If the folder is not writable, or the disk is full, no index is stored.
    with suppress(OSError), replacing(Path(path), new=new), new.open("xb") as file:
        np.savez(file, key=key, passed_over=passed_over, **arrays)


def _make_index(file: BinaryIO) -> TarIndex:
    passed_over = PassedOver()
    names, places, labels = [], [], []
    for files in list_tars(file, passed_over):
        of_tar = [name for name in files if is_image(name)]
        names += of_tar
        places += [files[name] for name in of_tar]
        labels += _read_labels(file, files, of_tar, passed_over)
    encoded = [name.encode(errors="surrogateescape") for name in names]
    offsets, sizes = np.array(places, np.int64).reshape(-1, 2).T.copy()
    return TarIndex(
        offsets=offsets,
        sizes=sizes,
        labels=np.array(labels, np.int64),
        names=np.frombuffer(b"".join(encoded), np.uint8),
        ends=np.cumsum([len(name) for name in encoded], dtype=np.int64),
        passed_over=passed_over,
    )


def _read_labels(
    file: BinaryIO, files: Files, images: list[str], passed_over: PassedOver
) -> list[int]:
    """The labels of the images in one tar, from the members of the same name."""
    labels: dict[str, dict[str, tuple[int, str]]] = {extension: {} for extension in LABELS}
    for name, (offset, size) in files.items():
        if is_image(name):
            continue
        stem, extension = os.path.splitext(name)
        label = None
        if extension in LABELS and size <= LARGEST_LABEL:
            file.seek(offset)
            try:
                label = _parse_label(extension, file.read(size))
            except (ValueError, RecursionError):
                passed_over.add(BAD_LABEL, name)
                continue
        if label is None:
            passed_over.add(why_passed_over(name), name)
        else:
            labels[extension][stem] = label, name
    given = labels[".json"] | labels[".cls"]
    found = [next((stem for stem in _stems(name) if stem in given), None) for name in images]
    for stem in given.keys() - set(found):
        passed_over.add(LONE_LABEL, given[stem][1])
    return [UNLABELLED if stem is None else given[stem][0] for stem in found]


def _parse_label(extension: str, content: bytes) -> int | None:
    """The label; None for JSON without a label. ValueError if it is not a class number."""
    if extension == ".cls":
        label = int(content)
    else:
        fields = json.loads(content)
        label = fields.get("label") if isinstance(fields, dict) else None
        if label is None:
            return None
    if type(label) is not int or not 0 <= label < 2**63:
        raise ValueError(f"label {label!r}")
    return label


def _stems(name: str) -> tuple[str, str]:
    """The name up to the last dot, and up to the first dot (the key of a WebDataset)."""
    folder, slash, file = name.rpartition("/")
    return os.path.splitext(name)[0], folder + slash + file.split(".")[0]
