"""The checkpoints that a folder contains, by the names in it."""

import re
from pathlib import Path

#: The name of a checkpoint. A name such as "007" is not one: it is a copy made by hand.
STEP = re.compile("0|[1-9][0-9]*")


def steps_in(folder: Path) -> list[int]:
    """The steps of the complete checkpoints in a folder, ascending."""
    try:
        entries = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(e.name) for e in entries if STEP.fullmatch(e.name) and e.is_dir())
