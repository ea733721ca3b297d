"""The files of the images that a COCO file names, whatever folders it names before them."""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from rats_jax.evals.datasets.pairing import composed


class ImageFinder:
    """Looks in some folders for names as tools write them: with `\\` between parts, below a folder
    that is another here, absolute, or in another Unicode form."""

    def __init__(self, folders: Sequence[Path]):
        self._folders, self._listed = [str(folder) for folder in folders], cache(_listed)

    def find(self, name: str) -> Path | None:
        """The file; of several, that with the most parts of the name in the first folder."""
        for folder, file in self._candidates(name):
            by_form = self._listed(folder)
            if found := by_form.get(file) or by_form.get(composed(file)):
                return Path(folder, found)
        return None

    def _candidates(self, name: str) -> Iterator[tuple[str, str]]:
        """Folder and file."""
        try:
            name = os.fsdecode(name.encode("utf-8", "surrogateescape"))  # also where LANG=C
        except UnicodeEncodeError:
            return
        for text in dict.fromkeys((name, name.replace("\\", "/"))):
            *above, file = [part for part in text.split("/") if part not in ("", ".")] or [""]
            if text.startswith("/"):
                yield "/" + "/".join(above), file
            for start in range(len(above) + 1):
                for folder in self._folders:
                    yield "/".join((folder, *above[start:])), file


def _listed(folder: str) -> dict[str, str]:
    """The names in a folder, by themselves and by their composed form; none if there is none."""
    try:
        names = os.listdir(folder)
    except (OSError, ValueError):
        return {}
    return {composed(name): name for name in names} | {name: name for name in names}
