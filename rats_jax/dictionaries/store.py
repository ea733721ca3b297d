"""Vectors of all images of a data set, in files, because they may not fit in memory."""

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import ml_dtypes
import numpy as np

from rats_jax.errors import UserError
from rats_jax.files import replacing, write_whole
from rats_jax.paths import printable

INDEX, VECTORS = "index.json", "vectors"
_SHARD_BYTES, _SHARD_SECONDS = 64 * 2**20, 60.0


class _Array(NamedTuple):
    """dtype: a NumPy name, or bfloat16. shape: of one image."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(ml_dtypes.bfloat16 if self.dtype == "bfloat16" else self.dtype)

    @property
    def bytes(self) -> int:
        return self.numpy.itemsize * int(np.prod(self.shape))


class _Shard(NamedTuple):
    """images: how many. checks: CRC-32 of each array's bytes."""

    images: int
    checks: dict[str, int]


class Store:
    """Arrays of images, each [S, ...], appended in the order of the images and kept in shards.

    "vectors" [S, N, D] are kept as bfloat16, other arrays as they are. A shard is written whole or
    not at all. After a kill, `images` says how many images are there: resume with the next one.
    Files that are missing or cut off are noticed when the folder is opened, and changed bytes when
    a shard is first read.

    FOLDER/index.json     `about`, the arrays, and the shards
    FOLDER/00000.bin      the first shard: its arrays, one after the other
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]):
        self.folder = folder
        self._about = json.loads(json.dumps(dict(about)))
        self._arrays: dict[str, _Array] = {}
        self._shards: list[_Shard] = []
        self._waiting: list[dict[str, np.ndarray]] = []
        self._checked: set[tuple[int, str]] = set()
        self._written = time.monotonic()

    @classmethod
    def open(cls, folder: str | os.PathLike, about: Mapping[str, Any]) -> Self:
        """Opens a folder of vectors, or makes a new one.

        about: plain values of JSON that say what the vectors are of, and how they are made.

        Raises UserError if the folder has vectors with another `about`, or is damaged.
        """
        store = cls(Path(folder), about)
        with store._disk_errors():
            store.folder.mkdir(parents=True, exist_ok=True)
            if (store.folder / INDEX).exists():
                store._read_index()
        return store

    @property
    def images(self) -> int:
        """How many images are in complete shards."""
        return sum(shard.images for shard in self._shards)

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Adds a batch of images: arrays [b, ...] with the names, types and shapes of the first
        batch. They are written once there are 64 MiB, a minute
        after the last write, and by `close`."""
        batch = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        if VECTORS in batch:
            batch[VECTORS] = batch[VECTORS].astype(ml_dtypes.bfloat16)
        layout = {name: _Array(x.dtype.name, x.shape[1:]) for name, x in batch.items()}
        self._arrays = self._arrays or layout
        if layout != self._arrays or len({len(x) for x in batch.values()}) != 1:
            raise ValueError(f"a batch of {layout} for a store of {self._arrays}")
        self._waiting.append(batch)
        size = sum(x.nbytes for batch in self._waiting for x in batch.values())
        if size >= _SHARD_BYTES or time.monotonic() - self._written >= _SHARD_SECONDS:
            self._write()

    def close(self) -> None:
        """Writes what is not yet written."""
        if self._waiting:
            self._write()

    def array(self, name: str) -> np.ndarray:
        """An array of all images [S, ...], in memory."""
        return np.concatenate([self.read(shard, name) for shard in range(len(self._shards))])

    def shards(self) -> list[int]:
        """How many images each shard has."""
        return [shard.images for shard in self._shards]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array [S, ...]."""
        return self.images, *self._arrays[name].shape

    def read(self, shard: int, name: str) -> np.ndarray:
        """An array of the images of one shard. Raises UserError if the shard is damaged."""
        count, checks = self._shards[shard]
        before = list(self._arrays)[: list(self._arrays).index(name)]
        layout = self._arrays[name]
        found = np.empty((count, *layout.shape), layout.numpy)
        with self._disk_errors(), self._file(shard).open("rb") as file:
            file.seek(count * sum(self._arrays[other].bytes for other in before))
            if file.readinto(found.view(np.uint8).data) != found.nbytes:
                raise self._damaged(self._file(shard))
        if (shard, name) not in self._checked:
            if zlib.crc32(found.view(np.uint8).data) != checks[name]:
                raise self._damaged(self._file(shard))
            self._checked.add((shard, name))
        return found

    def vectors(self, keep: np.ndarray | None = None) -> "StoredVectors":
        """The vectors, read chunk by chunk. keep: bool [S, N], which of them; None for all."""
        return StoredVectors(self, keep)

    def _write(self) -> None:
        """Writes the waiting batches as a shard, and then the index that counts it."""
        arrays = {n: np.concatenate([batch[n] for batch in self._waiting]) for n in self._arrays}
        checks = {n: zlib.crc32(x.view(np.uint8).data) for n, x in arrays.items()}
        with self._disk_errors():
            with replacing(self._file(len(self._shards)), durable=True) as new, new.open("wb") as f:
                for array in arrays.values():
                    f.write(array.view(np.uint8).data)
            self._shards.append(_Shard(len(next(iter(arrays.values()))), checks))
            index = {"about": self._about, "arrays": self._arrays, "shards": self._shards}
            write_whole(self.folder / INDEX, json.dumps(index), durable=True)
        self._waiting, self._written = [], time.monotonic()

    def _read_index(self) -> None:
        index = self.folder / INDEX
        try:
            found = json.loads(index.read_text("utf-8"))
            about, arrays, shards = found["about"], found["arrays"], found["shards"]
            self._arrays = {n: _Array(dtype, tuple(shape)) for n, (dtype, shape) in arrays.items()}
            self._shards = [_Shard(int(images), dict(checks)) for images, checks in shards]
            bytes_of_image = sum(array.bytes for array in self._arrays.values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._damaged(index) from None
        if about != self._about:
            names = [n for n in {**about, **self._about} if about.get(n) != self._about.get(n)]
            texts = [f"{n} {about.get(n)}, now {self._about.get(n)}" for n in names]
            raise UserError(
                f"{printable(str(self.folder))} has other vectors ({'; '.join(texts)}): choose "
                "another folder, or remove this one"
            )
        for number, shard in enumerate(self._shards):
            file = self._file(number)
            if not file.exists() or file.stat().st_size != shard.images * bytes_of_image:
                raise self._damaged(file)

    def _file(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.bin"

    def _damaged(self, file: Path) -> UserError:
        what = "is damaged" if file.exists() else "is missing"
        return UserError(
            f"{printable(str(file))} {what}: remove the folder, and the vectors are made again"
        )

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise self._damaged(Path(error.filename)) from None
        except OSError as error:
            raise UserError(
                f"{printable(str(self.folder))} cannot be used ({error.strerror or error}): free "
                "some space, or make the folder writable; the same command then resumes"
            ) from error


class StoredVectors:
    """Vectors of a store, as `rats_jax.parts.dictionary.kmeans.Vectors`: one shard at a time is in
    memory."""

    def __init__(self, store: Store, keep: np.ndarray | None):
        images, count, self.width = store.shape(VECTORS)
        if keep is not None and keep.shape != (images, count):
            raise ValueError(f"keep {keep.shape} for {images} images with {count} vectors")
        self._store, self._keep = store, keep
        self._ends = np.cumsum(store.shards())
        firsts = self._ends - store.shards()
        sizes = [
            (end - first) * count if keep is None else np.count_nonzero(keep[first:end])
            for first, end in zip(firsts, self._ends, strict=True)
        ]
        self._firsts = firsts
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """All vectors in order, float32 [size, D] each, whatever the shards are."""
        left = np.zeros((0, self.width), ml_dtypes.bfloat16)
        for shard in range(len(self._ends)):
            vectors = self._of_shard(shard)
            first = 0
            while len(left) + len(vectors) - first >= size:
                end = first + size - len(left)
                yield _float32(left, vectors[first:end])
                left, first = left[:0], end
            left = np.concatenate([left, vectors[first:]])
        if len(left):
            yield _float32(left)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Some vectors float32 [m, D], in the order of the indices."""
        indices = np.asarray(indices)
        found = np.empty((len(indices), self.width), np.float32)
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        for shard in np.unique(shards):
            (places,) = np.nonzero(shards == shard)
            found[places] = self._of_shard(shard)[indices[places] - self._starts[shard]]
        return found

    def _of_shard(self, shard: int) -> np.ndarray:
        """The kept vectors of a shard, bfloat16 [m, D]."""
        vectors = self._store.read(shard, VECTORS).reshape(-1, self.width)
        if self._keep is None:
            return vectors
        return vectors[self._keep[self._firsts[shard] : self._ends[shard]].ravel()]


def _float32(*parts: np.ndarray) -> np.ndarray:
    """bfloat16 vectors [c, D] in parts, as one float32 array."""
    joined = np.empty((sum(map(len, parts)), parts[0].shape[1]), np.float32)
    first = 0
    for part in parts:
        joined[first : first + len(part)] = part
        first += len(part)
    return joined
