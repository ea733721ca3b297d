"""Annotation files."""

import json
from pathlib import Path
from typing import Any

from rats_jax.errors import UserError
from rats_jax.parts.datasets.part_dataset import read_bytes


def read_json(path: Path) -> Any:
    """A JSON file's content; UserError if it is not JSON."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:  # invalid UTF-8 is also a ValueError
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not JSON ({reason}); download or write it again") from error
