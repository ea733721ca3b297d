"""Encoded image files to upright RGB arrays: exactly as Pillow reads them, or fast."""

import io
import warnings

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

ORIENTATION = 0x0112  # EXIF tag

# What a file with an image's name may hold; of the others, some start programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
LARGEST = 2 * Image.MAX_IMAGE_PIXELS  # 179 megapixels: beyond that Pillow refuses
# Pillow warns from the half of it on.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class UnreadableImage(Exception):
    """An image whose bytes cannot be decoded; the message says why."""


def decode(image: bytes | np.ndarray) -> np.ndarray:
    """An image of a source as uint8 [h, w, 3], upright, in RGB.

    The EXIF orientation is applied. Grayscale, palette and CMYK become RGB; transparency is laid
    on white, as a page shows it; of 16-bit samples the high byte is kept. Of an animation the
    first frame is taken. An array is checked and passed through.

    Raises:
      UnreadableImage: corrupt, truncated or unsupported data, or more than 179 megapixels.
      ValueError: an array that is not uint8 [h, w, 3].
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"a decoded image must be uint8 [h, w, 3], not {image.dtype} {image.shape}"
            )
        return image
    file = io.BytesIO(image)
    try:
        with Image.open(file, formats=FORMATS) as opened:
            opened.load()
            return np.asarray(_to_rgb(_upright(opened)))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly every type on damaged data
        raise UnreadableImage(_reason(error)) from error


def decode_fast(
    image: bytes | np.ndarray, *, longer: int | None = None, shorter: int | None = None
) -> np.ndarray:
    """As `decode`, in a third of the time where the file is a plain JPEG.

    Such a file comes out as `decode` gives it, bit for bit: both use libjpeg-turbo. Where the
    caller says how many pixels are enough, of the longer or of the shorter side, a larger file is
    decoded at a half, a quarter or an eighth of its size, the smallest that leaves so many: the
    inverse DCT does the averaging, and 100 megapixels cost neither the time nor the memory.
    Everything else, whole or damaged, is left to `decode`.
    """
    if isinstance(image, np.ndarray):
        return decode(image)
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(image)
        if colors not in ("YCbCr", "Gray") or height * width > LARGEST:
            return decode(image)
        reduction = 1
        if longer or shorter:
            side, enough = (max, longer) if longer else (min, shorter)
            reduction = next((r for r in (8, 4, 2) if side(height, width) >= r * enough), 1)
        pixels = simplejpeg.decode_jpeg(
            image,
            "RGB",
            min_height=-(-height // reduction),
            min_width=-(-width // reduction),
        )
    except ValueError:  # not a JPEG, or one with a flaw: Pillow decides whether it can be read
        return decode(image)
    return _turned(pixels, _orientation(image))


def _orientation(jpeg: bytes) -> int:
    """1 to 8; 1 where the file says nothing."""
    # Opening the file with Pillow costs a tenth of decoding it: only where there is need.
    if not _tells_orientation(jpeg):
        return 1
    try:
        with Image.open(io.BytesIO(jpeg)) as opened:
            return opened.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF, of many kinds; the pixels are whole
        return 1


def _tells_orientation(jpeg: bytes) -> bool:
    """Whether an APP1 segment holds EXIF, or XMP with an orientation."""
    start = 2
    while start + 4 <= len(jpeg) and jpeg[start] == 0xFF:
        marker = jpeg[start + 1]
        if marker == 0xFF:  # padding
            start += 1
            continue
        if marker == 0xDA:  # start of scan: no more metadata
            break
        end = start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big")
        if marker == 0xE1:
            content = jpeg[start + 4 : end]
            if content.startswith(b"Exif\0\0") or b"tiff:Orientation" in content:
                return True
        start = end
    return False


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What `ImageOps.exif_transpose` does, as a contiguous array."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


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


def _reason(error: Exception) -> str:
    if isinstance(error, UnreadableImage):
        return str(error)
    if isinstance(error, Image.UnidentifiedImageError):  # its message shows a Python object
        return f"not an image: none of {', '.join(FORMATS)}"
    return f"{type(error).__name__}: {error}"
