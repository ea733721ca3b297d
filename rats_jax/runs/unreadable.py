"""The images that a run could not read: counted, listed, and too many of them stop it."""

from pathlib import Path

import jax

from rats_jax.command_line import say
from rats_jax.data.filling import name_of
from rats_jax.data.sources import Source
from rats_jax.errors import UserError

FEW = 1000  # images: the share is judged against no fewer, lest the first bad one stop the run


class Unreadable:
    """Lists names and reasons, once each, in `folder`/unreadable.txt (further processes of a run:
    unreadable.1.txt, ...), where a later start finds them.

    Attributes:
      file: the list, a line each: name, tab, reason.
      count: of the list.
    """

    def __init__(self, source: Source, folder: Path, *, max_share: float):
        process = jax.process_index()
        self.file = folder / (f"unreadable.{process}.txt" if process else "unreadable.txt")
        self._source = source
        self._max_share = max_share
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self._known = {line.split("\t")[0] for line in lines}

    @property
    def count(self) -> int:
        return len(self._known)

    def add(self, failures: dict[int, str], *, seen: int) -> None:
        """Takes up {source index: reason}, of a run that has drawn `seen` images by now.

        Raises UserError when the list is longer than `max_share` of the images seen.
        """
        for index, reason in sorted(failures.items()):
            name = name_of(self._source, index)
            if name in self._known:
                continue
            say(f"cannot read {name} ({reason}): the next image takes its place")
            with self.file.open("a") as file:
                file.write(f"{name}\t{' '.join(reason.split())}\n")
            self._known.add(name)
        seen = min(max(seen, FEW), len(self._source))
        if failures and self.count > self._max_share * seen:
            raise UserError(
                f"{self.count} of {seen:,} images cannot be read, more than "
                f"config.data.max_unreadable={self._max_share:g} allows; they are listed in "
                f"{self.file}: mend them, or allow more"
            )
