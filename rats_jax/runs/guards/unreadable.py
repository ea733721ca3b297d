"""Counts and lists the images that a run could not read, and stops it if there are too many."""

from pathlib import Path

import jax

from rats_jax.data.sources import Source
from rats_jax.data.worker import name_of
from rats_jax.errors import UserError
from rats_jax.paths import printable
from rats_jax.voice import say

FEW = 1000  # images: minimum for the denominator, so that the first failure does not stop the run


class Unreadable:
    """Lists each unreadable image once, with the reason, in `folder`/unreadable.txt (other
    processes: unreadable.1.txt, ...), which later starts read.

    Attributes:
      file: the list, one image per line: name, tab, reason.
      count: the number of images in the list.
    """

    def __init__(
        self,
        source: Source,
        folder: Path,
        *,
        max_share: float,
        start: int,
        process: int | None = None,
    ):
        """start: the step that the run is resumed from; at 0 an earlier list is renamed. process:
        the number of this process; by default JAX's."""
        process = jax.process_index() if process is None else process
        self.file = folder / (f"unreadable.{process}.txt" if process else "unreadable.txt")
        if not start and self.file.exists():
            self.file.replace(self.file.with_suffix(".old.txt"))
        self._source = source
        self._max_share = max_share
        self._drawn = self._replaced = 0
        lines = self.file.read_text("utf-8", "replace").splitlines() if self.file.exists() else []
        self._known = {line.split("\t")[0] for line in lines}

    @property
    def count(self) -> int:
        return len(self._known)

    def say_count(self) -> None:
        """Prints the number of unreadable images, if there are any."""
        if self.count:
            say(f"unreadable images: {self.count}, listed in {self.file}")

    def add(self, failures: dict[int, str], *, replaced: int, drawn: int) -> None:
        """Adds failures, {source index: reason}, and the numbers of images replaced and drawn.

        Raises UserError if more than `max_share` of the images drawn since the start were replaced.
        """
        for index, reason in sorted(failures.items()):
            name, reason = name_of(self._source, index), printable(reason)
            if name in self._known:
                continue
            say(f"cannot read {name} ({reason}): the next image is used instead")
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{name}\t{reason}\n")
            self._known.add(name)
        self._drawn += drawn
        self._replaced += replaced
        judged = max(self._drawn, min(FEW, len(self._source)))
        if self._replaced > self._max_share * judged:
            raise UserError(
                f"{self._replaced} of the {self._drawn:,} images drawn cannot be read, more than "
                f"config.data.max_unreadable={self._max_share:g} allows; they are listed in "
                f"{self.file}: repair or remove them, or allow more"
            )
