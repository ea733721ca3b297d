"""Integer ids of pixels, from lossless image files and from NumPy arrays."""

import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from rats_jax.data.decode import UnreadableImage, open_image
from rats_jax.errors import UserError
from rats_jax.parts.datasets.part_dataset import read_bytes

PICTURES = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
ARRAYS = (".npy", ".npz")
ENDINGS = (*PICTURES, *ARRAYS)  # what `read_ids` can read

_ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B")


def read_ids(path: Path) -> np.ndarray:
    """int32 [h, w] from an image of one channel with 1 to 32 bits (for a palette, the indices), or
    from an array of integers."""
    if path.suffix.lower() in ARRAYS:
        ids = read_array(path)
        if ids.ndim != 2 or ids.dtype.kind not in "iub" or not ids.size:
            raise UserError(
                f"{path} holds {ids.dtype} {list(ids.shape)}; write integer ids [height, width], "
                "one for each pixel"
            )
    else:
        ids = _picture(path, _ONE_CHANNEL, "one channel of 8 or 16 bits")
    if not 0 <= int(ids.min()) <= int(ids.max()) < 2**31:
        raise UserError(
            f"{path} holds ids that are negative or at least 2**31; renumber them from 0"
        )
    return ids.astype(np.int32)


def read_rgb_ids(path: Path) -> np.ndarray:
    """int32 [h, w]: R + 256 G + 65536 B for an RGB picture; for an array, its integers."""
    if path.suffix.lower() in ARRAYS:
        return read_ids(path)
    red, green, blue = np.moveaxis(_picture(path, ("RGB",), "RGB").astype(np.int32), -1, 0)
    return red + 256 * green + 65536 * blue


def is_rgb(path: Path) -> bool:
    """Whether the file is an image of three channels; False if it cannot be read."""
    try:
        return open_image(read_bytes(path), (_format(path),), pixels=False).mode == "RGB"
    except UnreadableImage:
        return False  # reported when it is read


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy, or the only one in a .npz."""
    try:
        array = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
        if isinstance(array, np.lib.npyio.NpzFile):
            if len(array.files) != 1:
                raise UserError(f"{path} holds {len(array.files)} arrays; write one, the label map")
            array = array[array.files[0]]
    except (BadZipFile, EOFError, MemoryError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not a readable array ({reason}); write it again") from error
    return array


def _picture(path: Path, modes: tuple[str, ...], expected: str) -> np.ndarray:
    kind = _format(path)
    try:
        image = open_image(read_bytes(path), (kind,))
    except UnreadableImage as error:
        raise UserError(f"{path} is not a readable {kind} ({error}); download it again") from error
    if kind == "TIFF" and image.n_frames > 1:
        raise UserError(f"{path} holds {image.n_frames} pages; write one, the label map")
    if image.mode not in modes:
        raise UserError(f"{path} has Pillow's mode {image.mode}; write ids as a PNG of {expected}")
    return np.asarray(image)


def _format(path: Path) -> str:
    """Pillow's name of the file's format; UserError for a format that is not in `PICTURES`."""
    if (ending := path.suffix.lower()) not in PICTURES:
        raise UserError(f"{path} holds no ids; save them as one of {', '.join(ENDINGS)}")
    return PICTURES[ending]
