"""Which image files --images means: files, folders, patterns and lists of names."""

import os
from collections.abc import Iterator, Sequence
from glob import escape, glob
from pathlib import Path

import numpy as np

from rats_jax.data.passed_over import PassedOver
from rats_jax.data.sources import EXTENSIONS, is_image, list_images
from rats_jax.errors import UserError
from rats_jax.paths import local_path, printable
from rats_jax.voice import say

COMMAS = 9  # largest number of commas in one name


def find_images(given: Sequence[str]) -> list[tuple[str, Path]]:
    """(name, file) of each image, each file once.

    given: values of --images. Each is one of these, or several of them separated by commas:

    - a folder, for all JPEG, PNG and WebP files in it and below it, sorted;
    - a file, with any extension;
    - a pattern with `*`, `?`, `[...]` or `**`, for the images that match it and those in folders
      that match it; if there are none, for all files that match it;
    - a text file (.txt) with one of the above in each line. Relative names start at the current
      folder.

    `~` is the home directory. The name of a file or folder that exists is used as it is, even if it
    has a comma or a `*`. The name of an image is its path below the folder that holds all images.

    Raises:
      UserError: something does not exist, or is a folder or a pattern without an image.
    """
    files = dict.fromkeys(
        os.path.abspath(file) for value in given for one in _split(value) for file in _files(one)
    )
    if not files:
        raise UserError("--images matches no image: give image files, or a folder of them")
    if len(given) == 1 and os.path.isdir(local_path(given[0])):
        root = os.path.abspath(local_path(given[0]))
    else:
        root = os.path.commonpath([os.path.dirname(file) for file in files])
    return [(os.path.relpath(file, root), Path(file)) for file in files]


def folders_of(given: Sequence[str]) -> list[Path]:
    """The folders among the values of --images, in which every image is used."""
    paths = [local_path(one) for value in given for one in _split(value)]
    return [path for path in paths if path.is_dir()]


def spread(length: int, count: int) -> list[int]:
    """At most `count` indices below `length`, in even steps, including the first and the last."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(int)).tolist()


def _split(value: str) -> Iterator[str]:
    """Splits at commas, except within the name of a file or folder that exists."""
    pieces = value.split(",")
    while pieces:
        joined = (",".join(pieces[:count]) for count in range(COMMAS + 1, 1, -1))
        name = next(filter(_is_there, joined), pieces[0])
        pieces = pieces[name.count(",") + 1 :]
        if name.strip():
            yield name if _is_there(name) else name.strip()


def _is_there(name: str) -> bool:
    return os.path.exists(local_path(name)) or bool(_matches(name))


def _files(name: str, *, of_list: bool = False) -> list[str]:
    """The images that one name means. of_list: the name is a line of a list. Then the file need not
    exist, since that is noticed when it is read."""
    path = local_path(name)
    if os.path.isdir(path):
        if inside := _images_in(path):
            return inside
        raise UserError(
            f"--images {printable(name)} contains no image; expected files that end in "
            f"{', '.join(EXTENSIONS)}, in the folder or its subfolders (for other files use a "
            "pattern, such as 'DIR/*.tif')"
        )
    if not of_list and path.suffix.lower() == ".txt" and os.path.exists(path):
        return [file for line in _lines(path) for file in _files(line, of_list=True)]
    if os.path.exists(path):
        return [str(path)]
    if matches := _matches(name):
        images = []
        for match in matches:
            if os.path.isdir(match):
                images += _images_in(Path(match))
            elif is_image(os.path.basename(match)):
                images.append(match)
        if found := images or [match for match in matches if os.path.isfile(match)]:
            return found
    elif of_list and not _is_pattern(name):
        return [str(path)]
    reason = "matches no image" if _is_pattern(name) else "does not exist or cannot be reached"
    raise UserError(f"--images {printable(name)} {reason}: give image files, or a folder of them")


def _images_in(folder: Path) -> list[str]:
    passed_over = PassedOver()
    images = list_images(folder, passed_over)
    for note in passed_over.notes(folder) if images else ():
        say(note)
    return [os.path.join(folder, file) for file in images]


def _lines(path: Path) -> list[str]:
    shown = printable(str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"--images {shown} cannot be read ({error.strerror})") from None
    if b"\0" in data:
        raise UserError(f"--images {shown} is not a list of names: write one name per line")
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def _matches(name: str) -> list[str]:
    """Files and folders that a pattern matches, sorted. Folders at its start that exist are matched
    literally, even if their names have brackets."""
    if not _is_pattern(name):
        return []
    parts = os.path.expanduser(name).split("/")
    start = 0
    while start < len(parts) - 1 and os.path.isdir("/".join(parts[: start + 1]) + "/"):
        start += 1
    known = "".join(f"{part}/" for part in parts[:start])
    return sorted(glob(escape(known) + "/".join(parts[start:]), recursive=True))
