"""Atomic writes of files, and locks."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def replacing(file: Path, *, new: Path | None = None, durable: bool = False) -> Iterator[Path]:
    """A path to write to. It is renamed to `file` if the block succeeds and removed otherwise, so
    that no reader ever sees an incomplete file.

    new: the path to write to, in the same folder; by default the name of `file` with ".new"
    appended. If several processes may write at the same time, each needs a different path.
    durable: as in `settle`.
    """
    new = new or file.with_name(f"{file.name}.new")
    try:
        yield new
        if durable:
            settle(new, file)
        else:
            new.replace(file)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def write_whole(
    file: Path, content: str | bytes, *, new: Path | None = None, durable: bool = False
) -> None:
    """Writes a file as `replacing` does. Text is encoded as UTF-8; bytes of file names that Python
    could not decode (surrogate escapes) are written unchanged."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    with replacing(file, new=new, durable=durable) as path:
        path.write_bytes(content)


def settle(new: Path, file: Path) -> None:
    """Renames `new` to `file` so that a power cut leaves either the old file or the new one: the
    content reaches the disk before the name does."""
    sync(new)
    new.replace(file)
    sync(file.parent)


def lock(file: IO) -> bool:
    """Locks an open file. Returns False if another process holds the lock.

    The kernel releases the lock when the process ends, for any reason. Raises OSError if the file
    system has no locks, as is the case for some network file systems.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def umask() -> int:
    """The permissions that new files and folders do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
