"""What the host makes of one image for the device: crops, or a canvas that the device crops.

The device mirrors as well (`device_crops.py`), which costs it nothing and a host a tenth of its
time. Three ways, from the most faithful to the fastest for the host. All draw the same boxes with
the same random numbers (of an image too large for the fast ways, the same to within rounding).
"""

import threading
from typing import Protocol

import numpy as np
from PIL import Image

from rats_jax.data.crops import GLOBAL_CROPS, MultiCrop
from rats_jax.data.decode import decode, decode_fast
from rats_jax.errors import UserError

try:
    import cykooz_resizer
except ImportError:  # there is no wheel for Linux on ARM
    cykooz_resizer = None

BICUBIC = Image.Resampling.BICUBIC

Fields = dict[str, tuple[tuple[int, ...], type[np.generic]]]


class Samples(Protocol):
    """Turns an image of a source into the arrays of one sample."""

    @property
    def fields(self) -> Fields:
        """Shape and dtype of each array."""
        ...

    def write(
        self, image: bytes | np.ndarray, rng: np.random.Generator, out: dict[str, np.ndarray]
    ) -> None:
        """Fills `out`, one array for each field. Raises UnreadableImage before `rng` is used."""
        ...


class ExactCrops:
    """Pillow throughout: pixel for pixel the crops of the official pipeline, at its speed.

    Fields: "global" uint8 [2, S, S, 3] and "local" uint8 [V, s, s, 3], not yet flipped; "flips"
    bool [2 + V].
    """

    def __init__(self, crops: MultiCrop):
        self._crops = crops

    @property
    def fields(self) -> Fields:
        return _crop_fields(self._crops)

    def write(self, image, rng, out) -> None:
        whole = decode(image)
        rows = (*out["global"], *out["local"])
        boxes, out["flips"][:] = self._crops.draw(whole.shape[1::-1], rng)
        for row, (left, top, right, bottom) in zip(rows, boxes, strict=True):
            crop = Image.fromarray(whole[top:bottom, left:right])  # Image.crop has a limit of size
            row[:] = crop.resize(row.shape[1::-1], BICUBIC)


class FastCrops:
    """The same crops by libjpeg-turbo and a resampler that uses the CPU's vector instructions.

    On average within .3 of a level (of 255) of `ExactCrops`, since the resampler rounds otherwise;
    a pixel at a sharp border may be off by 20. JPEGs whose shorter side is 16 global crops or more
    are decoded at a reduced size that leaves at least 8 (see `decode_fast`); these differ more.

    Fields: as `ExactCrops`.
    """

    def __init__(self, crops: MultiCrop):
        if cykooz_resizer is None:
            raise UserError(
                "config.data.cropping=fast needs the package cykooz_resizer, which is not "
                "installed: pip install cykooz_resizer, or choose config.data.cropping=canvas or "
                "exact"
            )
        self._crops = crops

    @property
    def fields(self) -> Fields:
        return _crop_fields(self._crops)

    def write(self, image, rng, out) -> None:
        whole = decode_fast(image, shorter=8 * self._crops.global_size)
        rows = (*out["global"], *out["local"])
        boxes, out["flips"][:] = self._crops.draw(whole.shape[1::-1], rng)
        for row, (left, top, right, bottom) in zip(rows, boxes, strict=True):
            # Cropped first: the resampler's own crop box looks at pixels outside of it.
            row[:] = _resize(whole[top:bottom, left:right], row.shape[1::-1])


class Canvases:
    """The image itself, in the upper left corner of a square, which the device cuts crops out of.

    An image larger than the canvas is shrunk to fit, and its crops differ more. ImageNet's
    photographs are 500 pixels long as a rule.

    Fields: "canvas" uint8 [C, C, 3], 0 outside the image; "boxes" float32 [2 + V, 4], left, top,
    right, bottom in canvas pixels; "flips" bool [2 + V].
    """

    def __init__(self, crops: MultiCrop, *, size: int):
        self._crops = crops
        self._size = size

    @property
    def fields(self) -> Fields:
        return {
            "boxes": ((self._crops.views, 4), np.float32),
            "canvas": ((self._size, self._size, 3), np.uint8),
            "flips": ((self._crops.views,), np.bool_),
        }

    def write(self, image, rng, out) -> None:
        pixels = decode_fast(image, longer=self._size)
        height, width = pixels.shape[:2]
        boxes, out["flips"][:] = self._crops.draw((width, height), rng)
        if max(height, width) > self._size:
            fit = self._size / max(height, width)
            size = max(round(fit * width), 1), max(round(fit * height), 1)
            boxes = np.multiply(boxes, (size[0] / width, size[1] / height) * 2)
            if cykooz_resizer:
                pixels = _resize(pixels, size)
            else:
                pixels = np.asarray(Image.fromarray(pixels).resize(size, BICUBIC))
            width, height = size
        out["boxes"][:] = boxes
        canvas = out["canvas"]
        canvas[:height, :width] = pixels
        canvas[:height, width:] = 0
        canvas[height:] = 0


def _crop_fields(crops: MultiCrop) -> Fields:
    return {
        "global": ((GLOBAL_CROPS, crops.global_size, crops.global_size, 3), np.uint8),
        "local": ((crops.local_crops, crops.local_size, crops.local_size, 3), np.uint8),
        "flips": ((crops.views,), np.bool_),
    }


_of_thread = threading.local()  # a resizer holds a scratch buffer


def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [h, w, 3] to [size[1], size[0], 3]: bicubic, antialiased, as Pillow's `resize`."""
    if not hasattr(_of_thread, "resizer"):
        catmull_rom = cykooz_resizer.FilterType.catmull_rom  # Pillow's bicubic, a = -1/2
        _of_thread.resizer = cykooz_resizer.Resizer()
        _of_thread.options = cykooz_resizer.ResizeOptions(
            cykooz_resizer.ResizeAlg.convolution(catmull_rom)
        )
    rgb = cykooz_resizer.PixelType.U8x3
    image = cykooz_resizer.ImageData(pixels.shape[1], pixels.shape[0], rgb, pixels.tobytes())
    out = cykooz_resizer.ImageData(*size, rgb)
    _of_thread.resizer.resize(image, out, _of_thread.options)
    return np.frombuffer(out.get_buffer(), np.uint8).reshape(size[1], size[0], 3)
