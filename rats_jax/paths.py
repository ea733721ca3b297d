"""Paths and names as people have them: `~`, relative paths, bytes that are not UTF-8."""

import os
from pathlib import Path

from rats_jax.errors import UserError


def local_path(given: str | os.PathLike) -> Path:
    """The path that was given, with `~` and `~user` replaced by the home directory.

    A shell does this only at the start of a word, so `--output=~/x` arrives with its `~`. Every
    path from a flag or a config field must pass through here, or through `os.path.expanduser` where
    it is a pattern. The home of a user who does not exist stays as it is.
    """
    return Path(os.path.expanduser(given))


def check_utf8(path: str | os.PathLike, what: str) -> None:
    """Refuses a path that orbax, safetensors or another library cannot open: they take UTF-8 only.

    what: the flag that gave the path, such as "--workdir".

    Raises:
      UserError: the path has bytes that are not UTF-8.
    """
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(
            f"{what} {printable(os.fspath(path))} is not valid UTF-8: choose or make another name"
        ) from None


def printable(text: str) -> str:
    """One line that any file and terminal take: line ends, tabs, control characters and bytes that
    are not UTF-8 become escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
