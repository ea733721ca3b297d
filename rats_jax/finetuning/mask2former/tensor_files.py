"""Files of tensors, with the modes and the errors of all other files."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from rats_jax.files import umask


def save_tensors(
    tensors: Mapping[str, Tensor], file: Path, *, metadata: dict[str, str] | None = None
) -> None:
    """Writes a file in the format safetensors. Raises OSError, for example for a full disk."""
    try:
        save_file(dict(tensors), file, metadata=metadata)
    except SafetensorError as error:  # which says in its text alone what the system reported
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(file)) from error
    file.chmod(0o666 & ~umask())  # safetensors makes files that only their owner can read
