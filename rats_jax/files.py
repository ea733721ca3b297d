"""Files that are written whole or not at all, and locks."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def replacing(file: Path, *, new: Path | None = None, durable: bool = False) -> Iterator[Path]:
    """A path to write to, which takes the name `file` when the block ends well and is removed
    otherwise, so that nobody ever sees half a file.

    new: that path, in the same folder; by default the name with ".new" behind it. Where several
    processes may write at the same time, each needs its own. durable: as in `settle`.
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
    """Writes a file as `replacing` does. Text is written in UTF-8; a name's bytes that Python could
    not decode are written as they were."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    with replacing(file, new=new, durable=durable) as path:
        path.write_bytes(content)


def settle(new: Path, file: Path) -> None:
    """Renames `new` to `file` such that a power cut leaves the old file or the new one: the content
    is on the disk before the name is."""
    _sync(new)
    new.replace(file)
    _sync(file.parent)


def lock(file: IO) -> bool:
    """Takes the lock of an open file, unless another process has it: then False.

    The kernel releases it when the process ends, however it ends. Raises OSError where the file
    system has no locks, such as some of networks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
