"""Refuses folders whose names orbax or tensorstore cannot handle.

The failure would come late: orbax treats the path as a pattern when it combines the files of a
checkpoint, so a run in a folder named `run[1]` could train for days and not be restored.
"""

import fnmatch
import os
from pathlib import Path

from rats_jax.errors import UserError
from rats_jax.paths import check_utf8, printable

#: Bytes of a path: the system's limit of 4,096, minus the length of names below a workdir.
LONGEST = 3800


def check_folder(folder: Path, what: str, *, read_only: bool = False) -> None:
    """Refuses a folder where checkpoints cannot be written or, if `read_only`, cannot be read.

    what: the flag that gave the folder, such as "--workdir".

    Raises:
      UserError: its absolute path is not UTF-8, is too long or has an unsupported name in it.
    """
    path = os.fspath(folder.absolute())
    check_utf8(path, what)
    fault = None
    if "\\" in path:
        fault = "contains a backslash, which is read as a slash"
    elif not read_only:
        for name in folder.absolute().parts:
            if "**" in name or not fnmatch.fnmatchcase(name, name):
                fault = f"contains {printable(name)}, which is read as a pattern"
            elif name == "gs:":
                fault = "contains gs:, which is read as the address of a bucket"
        if len(os.fsencode(path)) > LONGEST:
            fault = f"is longer than {LONGEST:,} bytes"
    if fault:
        raise UserError(
            f"{what} {printable(path)} {fault}, so checkpoints cannot be saved there: rename it, "
            "or choose another path"
        )
