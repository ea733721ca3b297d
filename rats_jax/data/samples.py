"""What the host makes of one image for the device: crops, or a canvas that the device crops.

The device also mirrors the crops (`device_crops.py`): that is free there, and would take a tenth
of the host's time. There are three ways, from the most faithful to the fastest for the host. All
draw the same boxes with the same random numbers (up to rounding, if an image is so large that the
fast ways reduce it).
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
        """Fills `out`, one array per field. Raises UnreadableImage before `rng` is used."""
        ...


class ExactCrops:
    """Uses Pillow only: the crops and the speed of the official pipeline, equal in every pixel.

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
            crop = Image.fromarray(whole[top:bottom, left:right])  # Image.crop has a size limit
            row[:] = crop.resize(row.shape[1::-1], BICUBIC)


class FastCrops:
    """The same crops by libjpeg-turbo and a resampler that uses the CPU's vector instructions.

    They differ from `ExactCrops` by .3 of a level (of 255) on average, because the resampler rounds
    differently; a pixel at a sharp border may differ by 20. JPEGs whose shorter side is at least 16
    times `global_size` are decoded at a reduced size, at least 8 times `global_size` (see
    `decode_fast`); these differ more.

    Fields: those of `ExactCrops`.
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
            # Cropped first: with its own crop box, the resampler reads pixels outside of the box.
            row[:] = _resize(whole[top:bottom, left:right], row.shape[1::-1])


class Canvases:
    """The image itself, in the upper left corner of a square that the device cuts crops out of.

    An image larger than the canvas is reduced to fit, and its crops differ more. Most ImageNet
    photographs are 500 pixels long.

    Fields: "canvas" uint8 [C, C, 3], 0 outside the image; "boxes" float32 [2 + V, 4] (left,
    top, right, bottom) in canvas pixels; "flips" bool [2 + V].
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
    """Resizes uint8 [h, w, 3] to [size[1], size[0], 3]: bicubic, antialiased, like Pillow."""
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
