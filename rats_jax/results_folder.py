"""A folder of results, which appears only when it is complete."""

import os
import shutil
import signal
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rats_jax.errors import UserError
from rats_jax.files import umask
from rats_jax.paths import printable


def free_folder(output: Path) -> Path:
    """The folder that `output` means, with links resolved. Raises UserError unless it is empty or
    does not exist."""
    try:
        target = output.resolve()
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return target
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or error
        name = printable(str(output))
        raise UserError(f"--output {name} cannot be made ({reason}): choose another") from None
    raise UserError(
        f"--output {printable(str(output))} already exists: choose a new folder, or remove this one"
    )


def check_outside(target: Path, folders: Iterable[Path]) -> None:
    """Raises UserError if the folder of results is inside a folder that the command reads: the next
    command would read the pictures in it as data."""
    for folder in folders:
        if target.is_relative_to(folder.resolve()):
            raise UserError(
                f"--output {printable(str(target))} is in {printable(str(folder))}, whose images "
                "are all read: the next command would read its own results; choose a folder "
                "outside"
            )


@contextmanager
def new_folder(target: Path, *, flag: str = "--output") -> Iterator[Path]:
    """A temporary folder next to `target`. It is renamed to `target` if the block succeeds, and
    removed otherwise, also after Ctrl-C or SIGTERM.

    flag: what the user gave `target` with, for messages.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.lstat(target)  # a name that is too long fails here, not after everything is written
        prefix = f".{target.name[:40]}."  # the name itself may already have the maximal length
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    except OSError as error:
        raise UserError(
            f"{flag} {printable(str(target))} cannot be made ({error.strerror}): choose another"
        ) from None
    try:
        yield folder
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # from modules tested there
        folder.chmod(0o777 & ~umask())
        if target.exists():
            target.rmdir()
        folder.rename(target)
    except OSError as error:
        raise UserError(
            f"{flag} {printable(str(target))} cannot be written ({error.strerror or error}): "
            "free some space, or choose another"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def file_names(names: Sequence[str]) -> list[str]:
    """A name for the files drawn of each image, valid in any file system: the image's name without
    extension. It gets a number if two images would have the same name, also if the names differ
    only in case or in the encoding of accents."""
    chosen: dict[str, str] = {}  # the key is equal for names that a file system may not distinguish
    numbers: dict[str, int] = {}  # the last number that a stem got
    for name in names:
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
        stem = Path(plain).stem.strip(".")[:100] or "image"
        stem = stem.encode()[:200].decode(errors="ignore")  # names have at most 255 bytes
        free, number = stem, numbers.get(_folded(stem), 1)
        while _folded(free) in chosen:
            number += 1
            free = f"{stem}_{number}"
        numbers[_folded(stem)] = number
        chosen[_folded(free)] = free
    return list(chosen.values())


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
