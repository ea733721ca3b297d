"""The images to look at: found, read, and brought to a size that the model takes."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from rats_jax.data.decode import UnreadableImage, decode
from rats_jax.data.sources import EXTENSIONS, is_image, walk
from rats_jax.errors import UserError


def find_images(names: str) -> list[tuple[str, Path]]:
    """(name, file) of each image in `names`: one file or folder, or several with commas between.

    A folder stands for all its JPEG, PNG and WebP files, sorted, those in folders below too; their
    names are then the paths in it. A file is taken whatever its name ends in.

    Raises:
      UserError: if one is not there, or a folder holds no image.
    """
    found = []
    for name in [names] if os.path.exists(Path(names).expanduser()) else names.split(","):
        path = Path(name).expanduser()
        if os.path.isdir(path):
            inside = sorted(file for file in walk(path) if is_image(file))
            if not inside:
                raise UserError(
                    f"--images {name} holds no image; expected files that end in "
                    f"{', '.join(EXTENSIONS)}, in the folder or below it"
                )
            found += [(file, path / file) for file in inside]
        elif os.path.exists(path):
            found.append((path.name, path))
        else:
            raise UserError(f"--images {name} is not there: name image files, or a folder of them")
    return found


def read_image(path: Path) -> np.ndarray:
    """uint8 [h, w, 3], upright. UserError if it is no image."""
    try:
        return decode(path.read_bytes())
    except (OSError, UnreadableImage) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path} cannot be shown ({reason}): leave it out or replace it") from None


def resized(image: np.ndarray, *, resolution: int, patch: int) -> np.ndarray:
    """The image with its longer side about `resolution` pixels, its aspect kept as well as whole
    patches allow: each side the nearest multiple of the patch, one at least. Bicubic."""
    height, width = image.shape[:2]
    scale = resolution / max(height, width)
    height, width = (max(1, round(side * scale / patch)) * patch for side in (height, width))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
