"""Random windows of resized images, for training: which, and how pixels and ids are taken.

An image is resized by a random factor, its sides kept in proportion, and a window of at most S x S
pixels is cut out at random. Only the pixels of the window are computed.
"""

import threading
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from rats_jax.errors import UserError

try:
    import cykooz_resizer
except ImportError:  # there is no wheel for Linux on ARM
    cykooz_resizer = None

Size = tuple[int, int]  # (height, width)
Resize = Literal["short_side", "inside"]
_BILINEAR = Image.Resampling.BILINEAR


class Window(NamedTuple):
    """A window of a resized image, in pixels of the resized image.

    whole: the size of the resized image. top, left, size: of the window.
    """

    whole: Size
    top: int
    left: int
    size: Size


@dataclass(frozen=True)
class Windows:
    """Draws windows.

    Attributes:
      side: S, the most pixels of a side of a window.
      resize: "short_side": the shorter side of the resized image is S times the ratio, as in
        MMSegmentation. "inside": the longer side is, so that the image fits into a square of S
        times the ratio, as in large-scale jitter.
      scale: the least and the largest ratio; each between them is as likely.
      longest: the most pixels of a resized image's longer side, which limits the factor.
    """

    side: int
    resize: Resize
    scale: tuple[float, float]
    longest: int

    def __post_init__(self):
        low, high = self.scale
        if not 0 < low <= high or self.side < 1:
            raise UserError(
                f"config.data.scale={self.scale}, config.data.crop={self.side}: the scale is two "
                "positive numbers in ascending order, and the crop at least 1 pixel"
            )

    def draw_size(self, size: Size, rng: np.random.Generator) -> Size:
        """The size of the resized image, at least 1 x 1."""
        target = self.side * rng.uniform(*self.scale)
        factor = target / (min(size) if self.resize == "short_side" else max(size))
        factor = min(factor, self.longest / max(size))
        height, width = (max(int(side * factor + 0.5), 1) for side in size)
        return height, width

    def draw_window(self, whole: Size, rng: np.random.Generator) -> Window:
        """A window at a random place; all of the image along a side that is shorter than S."""
        height, width = (min(side, self.side) for side in whole)
        top, left = (
            int(rng.integers(whole[0] - height + 1)),
            int(rng.integers(whole[1] - width + 1)),
        )
        return Window(whole, top, left, (height, width))


def nearest(window: Window, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns, int64, of an image of this size that are nearest to the window's: those
    that contain the centers of its pixels, as Pillow's NEAREST. A center on a border belongs to
    the later one; there, Pillow's choice depends on rounding."""
    starts = window.top, window.left
    rows, columns = (
        (2 * (start + np.arange(count)) + 1) * old // (2 * new)
        for start, count, old, new in zip(starts, window.size, size, window.whole, strict=True)
    )
    return rows, columns


def window_of_pixels(pixels: np.ndarray, window: Window) -> np.ndarray:
    """uint8 [height, width, 3] of the window, from uint8 [h, w, 3]: bilinear, antialiased where the
    image is reduced, up to rounding as Pillow's BILINEAR of the whole image."""
    (height, width), (down, across) = pixels.shape[:2], window.whole
    left, top = window.left * width / across, window.top * height / down
    right = min((window.left + window.size[1]) * width / across, width)
    bottom = min((window.top + window.size[0]) * height / down, height)
    box = (left, top, right, bottom)
    if cykooz_resizer is None:
        image = Image.fromarray(pixels).resize(window.size[::-1], _BILINEAR, box=box)
        return np.asarray(image)
    return _fast(pixels, window.size, box)


_of_thread = threading.local()  # a resizer holds a scratch buffer


def _fast(pixels: np.ndarray, size: Size, box: tuple[float, float, float, float]) -> np.ndarray:
    if not hasattr(_of_thread, "resizer"):
        _of_thread.resizer = cykooz_resizer.Resizer()
    left, top, right, bottom = box
    options = cykooz_resizer.ResizeOptions(
        cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.bilinear),
        crop_box=cykooz_resizer.CropBox(left, top, right - left, bottom - top),
    )
    rgb = cykooz_resizer.PixelType.U8x3
    image = cykooz_resizer.ImageData(pixels.shape[1], pixels.shape[0], rgb, pixels.tobytes())
    out = cykooz_resizer.ImageData(size[1], size[0], rgb)
    _of_thread.resizer.resize(image, out, options)
    return np.frombuffer(out.get_buffer(), np.uint8).reshape(*size, 3)
