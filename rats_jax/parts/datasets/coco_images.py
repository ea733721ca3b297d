"""Finds the image files that a COCO file names, whatever folders their names include."""

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
    """Looks in folders for names as tools write them: with `\\` between parts, below a folder that
    has another name here, absolute, in another Unicode form, surrounded by blanks, or as a URL."""

    def __init__(self, folders: Sequence[Path]):
        self.folders = folders
        self._listed, self._alike = cache(_listed), cache(_alike)

    def find(self, name: str) -> Path | None:
        """The file; of several, the one with the most parts of the name, in the first folder."""
        for folder, file in self._candidates(name):
            by_form = self._listed(folder)
            if found := by_form.get(file) or by_form.get(composed(file)):
                return Path(folder, found)
        return None

    def find_alike(self, name: str) -> Path | None:
        """The only file whose name differs just by case, or else by its ending; None if there are
        several."""
        candidates = [(folder, _keys(file)) for folder, file in self._candidates(name)]
        for by in range(2):
            for folder, keys in candidates:
                if found := self._alike(folder)[by].get(keys[by]):
                    return Path(folder, found[0]) if len(found) == 1 else None
        return None

    def find_all(self, names: Iterable[str]) -> tuple[dict[str, Path], dict[str, Path]]:
        """The files of names that are found; and for the other names, files whose names differ by
        case or ending and that no other name has found."""
        found = {name: self.find(name) for name in names}
        own = {*found.values(), None}
        alike = {name: self.find_alike(name) for name, file in found.items() if file is None}
        return (
            {name: file for name, file in found.items() if file is not None},
            {name: file for name, file in alike.items() if file not in own},
        )

    def near(self, name: str) -> Path | None:
        """The image with the most similar name."""
        for folder, file in dict.fromkeys(self._candidates(name)):
            there = filter(_PICTURE.search, self._listed(folder).values())
            if close := difflib.get_close_matches(file, list(there), n=1):
                return Path(folder, close[0])
        return None

    def _candidates(self, name: str) -> Iterator[tuple[str, str]]:
        """Pairs of folder and file name to try."""
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
    """The name without the ending of an image; other endings, as in `a.v1`, are kept."""
    return _PICTURE.sub("", name)


def _spellings(name: str) -> Iterable[str]:
    """The name as it is, then its possible other readings."""
    trimmed = name.strip()
    path = re.split("[?#]", trimmed)[0] if "://" in trimmed else trimmed
    forms = (name, trimmed, path, unquote(path, errors="surrogateescape"))
    return dict.fromkeys(text for form in forms for text in (form, form.replace("\\", "/")))


def _listed(folder: str) -> dict[str, str]:
    """The names in a folder, by the name and by its composed form; {} if there is no folder."""
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
    """Two keys: equal for names that differ by case, and for names that differ by case or ending.
    All endings of JPEG count as one."""
    name = composed(name).lower()
    return _JPEG.sub(".jpg", name), without_ending(name)
