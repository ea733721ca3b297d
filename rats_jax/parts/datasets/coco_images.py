"""The files of the images that a COCO file names, whatever folders it names before them."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from rats_jax.parts.datasets.pairing import composed

_PICTURE = re.compile(r"\.(jpe?g|jpe|jfif|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)
_JPEG = re.compile(r"\.(jpe?g|jpe|jfif)$", re.IGNORECASE)


class ImageFinder:
    """Looks in some folders for names as tools write them: with `\\` between parts, below a folder
    that is another here, absolute, in another Unicode form, between blanks, or as a URL."""

    def __init__(self, folders: Sequence[Path]):
        self.folders = folders
        self._listed, self._alike = cache(_listed), cache(_alike)

    def find(self, name: str) -> Path | None:
        """The file; of several, that with the most parts of the name in the first folder."""
        for folder, file in self._candidates(name):
            by_form = self._listed(folder)
            if found := by_form.get(file) or by_form.get(composed(file)):
                return Path(folder, found)
        return None

    def find_alike(self, name: str) -> Path | None:
        """The one file whose name differs by case alone, or else by its ending; None if there are
        several."""
        candidates = [(folder, _keys(file)) for folder, file in self._candidates(name)]
        for by in range(2):
            for folder, keys in candidates:
                if found := self._alike(folder)[by].get(keys[by]):
                    return Path(folder, found[0]) if len(found) == 1 else None
        return None

    def find_all(self, names: Iterable[str]) -> tuple[dict[str, Path], dict[str, Path]]:
        """The files of those that have one; and of others those that differ by case or ending, and
        are no other name's own."""
        found = {name: self.find(name) for name in names}
        own = {*found.values(), None}
        alike = {name: self.find_alike(name) for name, file in found.items() if file is None}
        return (
            {name: file for name, file in found.items() if file is not None},
            {name: file for name, file in alike.items() if file not in own},
        )

    def near(self, name: str) -> Path | None:
        """The image that is named most like it."""
        for folder, file in dict.fromkeys(self._candidates(name)):
            there = filter(_PICTURE.search, self._listed(folder).values())
            if close := difflib.get_close_matches(file, list(there), n=1):
                return Path(folder, close[0])
        return None

    def _candidates(self, name: str) -> Iterator[tuple[str, str]]:
        """Folder and file."""
        try:
            name = os.fsdecode(name.encode("utf-8", "surrogateescape"))  # also where LANG=C
        except UnicodeEncodeError:
            return
        for text in _spellings(name):
            *above, file = [part for part in text.split("/") if part not in ("", ".")] or [""]
            if text.startswith("/"):
                yield "/" + "/".join(above), file
            for start in range(len(above) + 1):
                for folder in self.folders:
                    yield "/".join((str(folder), *above[start:])), file


def without_ending(name: str) -> str:
    """Without that of an image; `a.v1` keeps its own."""
    return _PICTURE.sub("", name)


def _spellings(name: str) -> Iterable[str]:
    """As it is, and then as it may be meant."""
    trimmed = name.strip()
    path = re.split("[?#]", trimmed)[0] if "://" in trimmed else trimmed
    forms = (name, trimmed, path, unquote(path, errors="surrogateescape"))
    return dict.fromkeys(text for form in forms for text in (form, form.replace("\\", "/")))


def _listed(folder: str) -> dict[str, str]:
    """The names in a folder, by themselves and by their composed form; none if there is none."""
    try:
        names = os.listdir(folder)
    except (OSError, ValueError):
        return {}
    return {composed(name): name for name in names} | {name: name for name in names}


def _alike(folder: str) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    """The images in a folder by each of their `_keys`."""
    by_keys: tuple[dict[str, list[str]], dict[str, list[str]]] = {}, {}
    for name in filter(_PICTURE.search, dict.fromkeys(_listed(folder).values())):
        for names, key in zip(by_keys, _keys(name), strict=True):
            names.setdefault(key, []).append(name)
    return by_keys


def _keys(name: str) -> tuple[str, str]:
    """The same for names that differ by case, and by case or ending; all of JPEG's are one."""
    name = composed(name).lower()
    return _JPEG.sub(".jpg", name), without_ending(name)
