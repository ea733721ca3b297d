"""Where images come from: anything with a length that gives (image, label) by index."""

import io
import os
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from rats_jax.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


class Source(Protocol):
    """Random access to images; all that the input pipeline asks of a data set.

    `source[i]`, 0 <= i < len(source), gives `(image, label)`: an encoded file (bytes) or decoded
    uint8 [h, w, 3], and an int. The order is fixed for good: batches are a function of it. Reading
    must be safe from several threads, and the source picklable (it travels to worker processes).
    An image that cannot be read raises OSError or `UnreadableImage`. A source may have `files`,
    one name per index, for messages.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[bytes | np.ndarray, int]: ...


class UnreadableImage(Exception):
    """An image whose bytes cannot be decoded; the message says why."""


class ImageFolder:
    """Every JPEG, PNG and WebP file in a folder and the folders below it.

    Files are sorted by relative path, so that their order is the same on every file system. The
    label is the index of the first-level folder among those that hold images (sorted by name);
    files that lie directly in the folder are the first class, named "". Hidden files and folders
    are skipped; links are followed.

    Attributes:
      root: the folder.
      files: relative paths, with `/` between parts.
      classes: names of the labels.

    Raises:
      UserError: the folder is missing, unreadable, or holds no image.
    """

    def __init__(self, path: str | os.PathLike):
        self.root = Path(path)
        if not self.root.exists():
            raise UserError(
                f"config.data.path {path} does not exist; give a folder that holds JPEG, PNG or "
                "WebP files"
            )
        if not self.root.is_dir():
            raise UserError(
                f"config.data.path {path} is not a folder; give the folder that holds it"
            )
        self.files = sorted(_image_files(self.root))
        if not self.files:
            raise UserError(
                f"config.data.path {path} holds no image; expected files that end in "
                f"{', '.join(EXTENSIONS)} (in any case), in the folder or below it"
            )
        self.classes = sorted({_top_folder(name) for name in self.files})
        self._labels = {name: label for label, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> tuple[bytes, int]:
        name = self.files[index]
        return (self.root / name).read_bytes(), self._labels[_top_folder(name)]


def _top_folder(name: str) -> str:
    return name.split("/", 1)[0] if "/" in name else ""


def _image_files(root: Path):
    def refuse(error: OSError):
        raise UserError(
            f"cannot list {error.filename}: {error.strerror}; make config.data.path {root} readable"
        ) from error

    visited = set()  # a link to a parent folder would otherwise be walked in circles
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield (relative / name).as_posix()


def decode(image: bytes | np.ndarray) -> np.ndarray:
    """An image of a source as uint8 [h, w, 3], upright, in RGB.

    The EXIF orientation is applied. Grayscale, palette and CMYK become RGB; transparency is laid
    on white, as a page shows it; of 16-bit samples the high byte is kept. Of an animation the
    first frame is taken. An array is checked and passed through.

    Raises:
      UnreadableImage: corrupt, truncated or unsupported data.
      ValueError: an array that is not uint8 [h, w, 3].
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"a decoded image must be uint8 [h, w, 3], not {image.dtype} {image.shape}"
            )
        return image
    try:
        with Image.open(io.BytesIO(image)) as opened:
            opened.load()
            return np.asarray(_to_rgb(_upright(opened)))
    except Exception as error:  # Pillow's decoders raise nearly every type on damaged data
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF, of many kinds; the pixels are whole
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage("floating-point samples have no agreed range")
    if image.mode.startswith("I"):  # Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")
