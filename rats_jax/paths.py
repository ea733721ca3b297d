"""Paths and names as users give them: `~`, relative paths, bytes that are not UTF-8."""

import os
from pathlib import Path

from rats_jax.errors import UserError


def local_path(given: str | os.PathLike) -> Path:
    """The given path, with `~` and `~user` replaced by the home directory.

    A shell does this only at the start of a word, so `--output=~/x` arrives with its `~`. Every
    path from a flag or a config field must pass through this function, or through
    `os.path.expanduser` if it is a pattern. `~user` is not changed if that user does not exist.
    """
    return Path(os.path.expanduser(given))


def check_utf8(path: str | os.PathLike, what: str) -> None:
    """Refuses a path that orbax, safetensors or another library cannot open, since they accept only
    UTF-8.

    what: the flag that gave the path, such as "--workdir".

    Raises:
      UserError: the path has bytes that are not UTF-8.
    """
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(
            f"{what} {printable(os.fspath(path))} is not valid UTF-8: rename it, or choose "
            "another path"
        ) from None


def printable(text: str) -> str:
    """The text as one line that is safe for any file and terminal: line ends, tabs, control
    characters and bytes that are not UTF-8 become escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
