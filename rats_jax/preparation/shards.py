"""Writes, checks and finds one shard.

A shard gets its name when it is complete and on the disk. Then its entry is written: a small JSON
file in `.prepare/` that says what is in the shard. So a shard with an entry is always finished,
even if a run was killed.
"""

import errno
import hashlib
import io
import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rats_jax import files
from rats_jax.data.decode import UnreadableImage, decode_fast
from rats_jax.data.records import open_writer, pack
from rats_jax.errors import UserError
from rats_jax.paths import printable
from rats_jax.preparation.inputs import File

STATE = ".prepare"  # folder of the entries and of the plan, next to the shards
UNFINISHED = ".unfinished"
FULL = {os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)}

#: Called with the number of images and bytes done since the last call.
Count = Callable[[int, int], None]


class Shard(NamedTuple):
    """A shard to write.

    Attributes:
      path: path of the shard.
      root: folder or archive with the files.
      files: in the order of the records.
      shorter_side: larger images are resized to this shorter side, in pixels; 0 for no resizing.
    """

    path: Path
    root: Path
    files: list[File]
    shorter_side: int


def write(shard: Shard, count: Count) -> dict:
    """Writes a shard and its entry. Every image is decoded; unreadable images are left out.

    Returns:
      The entry: {"file", "images", "bytes", "sha256", "unreadable": [{"name", "reason"}]}

    Raises:
      UserError: the output cannot be written, or the input has changed.
    """
    unfinished = _unfinished(shard.path)
    try:
        images, unreadable = _write_records(shard, unfinished, count)
        with writing(shard.path):
            digest = _sha256(unfinished)
            files.settle(unfinished, shard.path)
    finally:
        unfinished.unlink(missing_ok=True)
    entry = {
        "file": shard.path.name,
        "images": images,
        "bytes": shard.path.stat().st_size,
        "sha256": digest,
        "unreadable": unreadable,
    }
    write_whole(_entry_path(shard.path), json.dumps(entry))
    return entry


def find(path: Path) -> dict | None:
    """The entry of a finished shard; None if it is not finished, or its size has changed."""
    try:
        entry = json.loads(_entry_path(path).read_bytes())
        return entry if path.stat().st_size == entry["bytes"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(task: tuple[Path, dict], count: Count) -> bool:
    """Whether a shard (path, entry) has the checksum of its entry."""
    path, entry = task
    whole = _sha256(path, count) == entry["sha256"]
    count(entry["images"], 0)
    return whole


def forget(path: Path) -> None:
    """Removes the entry, so that the shard counts as not written."""
    _entry_path(path).unlink(missing_ok=True)


def clear(output: Path) -> None:
    """Removes unfinished files of killed runs from the folders of `output` that prepare wrote."""
    for state in output.glob(f"*/{STATE}"):
        for folder in (state, state.parent):
            for unfinished in folder.glob(f"*.[0-9]*{UNFINISHED}"):
                unfinished.unlink()


def write_whole(path: Path, content: str) -> None:
    """Writes a file atomically: it has all of its new content, or is as it was before."""
    with writing(path):
        files.write_whole(path, content, new=_unfinished(path), durable=True)


def _unfinished(path: Path) -> Path:
    """The file that this process writes before it is renamed to `path`, see `clear`."""
    return path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")


def _entry_path(path: Path) -> Path:
    return path.parent / STATE / f"{path.name}.json"


def _write_records(shard: Shard, unfinished: Path, count: Count) -> tuple[int, list[dict]]:
    images, unreadable = 0, []
    with writing(shard.path):
        writer = open_writer(unfinished)
    with _reader(shard.root) as read:
        for file in shard.files:
            try:
                image = read(file)
                image = _shrunk(image, decode_fast(image), shard.shorter_side)
            except MemoryError as error:
                raise UserError(
                    f"{printable(file.name)}: not enough memory to read it; lower --workers, or "
                    "make the image smaller"
                ) from error
            except (OSError, UnreadableImage) as error:
                reason = getattr(error, "strerror", None) or str(error)
                unreadable.append({"name": file.name, "reason": reason})
            else:
                with writing(shard.path):
                    writer.write(pack(file.name, file.label, image))
                images += 1
            count(1, file.size)
    with writing(shard.path):
        writer.close()
    return images, unreadable


@contextmanager
def _reader(root: Path):
    """Yields a function that reads the bytes of a `File`."""

    def read_file(file: File) -> bytes:
        try:
            image = (root / file.name).read_bytes()
        except FileNotFoundError:
            image = b""
        return checked(file, image)

    def read_member(file: File) -> bytes:
        assert file.offset is not None  # since it is in an archive
        return checked(file, os.pread(archive.fileno(), file.size, file.offset))

    def checked(file: File, image: bytes) -> bytes:
        if len(image) != file.size:
            raise UserError(
                printable(
                    f"{file.name} in {root} was removed or changed after it was listed; do not "
                    "change --input while prepare runs"
                )
            )
        return image

    if root.is_dir():
        yield read_file
    else:
        with root.open("rb", buffering=0) as archive:
            yield read_member


def _shrunk(image: bytes, pixels: np.ndarray, shorter_side: int) -> bytes:
    height, width = pixels.shape[:2]
    if not shorter_side or min(height, width) <= shorter_side:
        return image
    scale = shorter_side / min(height, width)
    size = round(width * scale), round(height * scale)
    out = io.BytesIO()
    resized = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    resized.save(out, "JPEG", quality=95, subsampling=0)  # 4:4:4
    return out.getvalue()


def _sha256(path: Path, count: Count = lambda images, done: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            count(0, len(block))
    return digest.hexdigest()


@contextmanager
def writing(path: Path):
    try:
        yield
    except (OSError, RuntimeError) as error:  # array_record raises RuntimeError
        reason = getattr(error, "strerror", None) or str(error).split(";")[0].rpartition(": ")[2]
        remedy = "free some space or choose" if reason in FULL else "choose"
        raise UserError(
            f"cannot write {path} ({reason}); {remedy} another --output, and run the command again"
        ) from error
