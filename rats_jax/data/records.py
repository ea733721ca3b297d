"""Our own ArrayRecord shards: encoded images with label and name, read by index.

A folder of shards contains `train-00000-of-00140.array_record`, ... and `manifest.json`, which
`python -m rats_jax.prepare` writes last. If it exists, the shards are complete.

    {"format": 1, "images": int, "classes": [str],
     "shards": [{"file": str, "images": int, "bytes": int, "sha256": str}],
     "unreadable": [{"name": str, "reason": str}], ...}

A record is a line of JSON, `{"name": str, "label": int}`, followed by the unchanged image file.
"""

import itertools
import json
import os
import resource
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from rats_jax.data.fingerprint import fingerprint_of_names
from rats_jax.data.names import Names
from rats_jax.data.passed_over import UNLISTED, PassedOver
from rats_jax.data.sources import check_folder
from rats_jax.errors import UserError
from rats_jax.paths import check_utf8, printable

FORMAT = 1
MANIFEST = "manifest.json"


def pack(name: str, label: int, image: bytes) -> bytes:
    """The record of an image."""
    return json.dumps({"name": name, "label": label}).encode() + b"\n" + image


def unpack(record: bytes) -> tuple[str, int, bytes]:
    """Name, label and image of a record; ValueError if it is not a record of rats_jax."""
    header, newline, image = record.partition(b"\n")
    try:
        fields = json.loads(header)
        return fields["name"], int(fields["label"]), image
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"not a record of rats_jax: {header[:40]!r}...") from error


def open_writer(path: str | os.PathLike) -> ArrayRecordWriter:
    """A writer of one shard: `write(record)`, and `close()`, which raises if the disk is full."""
    # Groups have one record, since a random read decodes a whole group. Compression is off, since
    # image files are already compressed.
    return ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")


def check_path(path: str | os.PathLike, what: str) -> None:
    """Refuses a path of shards that array_record cannot open. `what`: the flag with the path.

    Raises:
      UserError: the path is not UTF-8, or contains a line end.
    """
    check_utf8(path, what)
    if "\n" in os.fspath(path):
        raise UserError(
            f"{what} {printable(os.fspath(path))} contains a line break (\\n), so shards there "
            "cannot be read: rename it, or choose another path"
        )


class Records:
    """The images of a folder of shards, in the order of the manifest.

    A shard is opened at its first read, once per process.

    Attributes:
      root: the folder.
      files: names of the images; each is read from its record when it is asked for.
      classes: names of the labels.
      notes: which shards are not in the manifest, if any.

    Raises:
      UserError: the folder or its manifest is missing or has another format; a shard is missing
        or has a different size than in the manifest; the path is not UTF-8 or contains a line end.
    """

    def __init__(self, path: str | os.PathLike):
        self.root = check_folder(path, "the folder of shards that python -m rats_jax.prepare wrote")
        check_path(self.root, "the path")
        manifest = _read_manifest(self.root)
        try:
            self.classes = manifest["classes"]
            shards = [
                (shard["file"], shard["images"], shard["bytes"])
                for shard in manifest["shards"]
                if shard["images"]
            ]
            listed = {shard["file"] for shard in manifest["shards"]}
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{self.root / MANIFEST} lacks {error}; create it again with python -m "
                "rats_jax.prepare"
            ) from error
        if not shards:
            raise UserError(f"{self.root} contains no image; prepare another folder")
        self._contents = [
            f"{shard['images']} {shard.get('sha256') or shard['bytes']}"
            for shard in manifest["shards"]
            if shard["images"]
        ]
        self._shards = [file for file, _, _ in shards]
        self._ends = list(itertools.accumulate(images for _, images, _ in shards))
        for file, _, size in shards:
            _check_shard(self.root / file, size)
        passed_over = PassedOver()
        for file in sorted(self.root.glob("*.array_record")):
            if file.name not in listed:
                passed_over.add(UNLISTED, file.name)
        self.notes = passed_over.notes(self.root)
        _allow_open_files(len(shards))
        # A shard with a range in its name is not opened to count its records.
        self._records = ArrayRecordDataSource(
            [f"{self.root / file}[0:{images}]" for file, images, _ in shards]
        )

    @property
    def files(self) -> Sequence[str]:
        # Not stored: a reference cycle would keep the shards open until garbage collection.
        return Names(self, self._name)

    def fingerprint(self) -> str:
        """The fingerprint of the shards' contents, as the manifest lists them, in order."""
        return fingerprint_of_names(self._contents)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int, /) -> tuple[bytes, int]:
        _, label, image = self.read(index)
        return image, label

    def read(self, index: int) -> tuple[str, int, bytes]:
        """Name, label and image; OSError if the record is damaged."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        try:
            return unpack(self._records[index])
        except (ValueError, IndexError, RuntimeError) as error:  # what array_record raises
            raise OSError(f"{self.place(index)}: {error}") from error

    def _name(self, index: int) -> str:
        try:
            return self.read(index)[0]
        except OSError:  # names are mostly needed for images that cannot be read
            return self.place(index)

    def place(self, index: int) -> str:
        """The shard of an image and its position there, in words."""
        shard = bisect_right(self._ends, index)
        first = self._ends[shard - 1] if shard else 0
        return f"record {index - first} of {self._shards[shard]}"


def _read_manifest(root: Path) -> dict:
    try:
        manifest = json.loads((root / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        inner = sorted(found.parent.name for found in root.glob(f"*/{MANIFEST}"))
        remedy = (
            f"give one of its folders {', '.join(inner)}"
            if inner
            else "give a folder of shards; if it is one, python -m rats_jax.prepare did not "
            "finish: run it again"
        )
        raise UserError(f"{root} has no {MANIFEST}; {remedy}") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{root / MANIFEST} cannot be read ({error}); create it again with python -m "
            "rats_jax.prepare"
        ) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise UserError(
            f"{root / MANIFEST} is of format {found}, not {FORMAT}; read it with the version of "
            "rats_jax that wrote it, or run python -m rats_jax.prepare again"
        )
    return manifest


def _allow_open_files(shards: int) -> None:
    """Raises the open-file limit of this process and its workers if the shards need it."""
    needed = shards + 256  # for everything else
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UserError(
            f"up to {shards} shards are open at once, but this process may open only {hard} files; "
            "raise the limit (ulimit -Hn), or prepare with a larger --shard_mb"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _check_shard(path: Path, size: int) -> None:
    remedy = "copy it again, or run python -m rats_jax.prepare again, which creates it again"
    try:
        found = path.stat().st_size
    except OSError as error:
        raise UserError(f"shard {path} cannot be read ({error.strerror}); {remedy}") from error
    if found != size:
        raise UserError(f"shard {path} has {found} bytes, not {size}; {remedy}")
