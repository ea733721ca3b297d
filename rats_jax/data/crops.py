"""DINO's multi-crop on the host: the geometric half of the augmentation, uint8 in and out."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

RATIO = (3 / 4, 4 / 3)  # width / height
GLOBAL_CROPS = 2


@dataclass(frozen=True, kw_only=True)
class MultiCrop:
    """Two global and `local_crops` local random resized crops of one image, each flipped at p .5.

    Official recipe: `main_dino.py`, class DataAugmentationDINO; the crop is torchvision's
    RandomResizedCrop with bicubic, antialiased resampling (Pillow: crop first, then resize, so
    nothing outside the box is seen). Colour work is done later, on the device.

    Attributes:
      global_size, local_size: side of the square crops, in pixels.
      local_crops: how many local crops; may be 0.
      global_scale, local_scale: range of the crop's share of the image area.
    """

    global_size: int
    local_size: int
    local_crops: int
    global_scale: tuple[float, float]
    local_scale: tuple[float, float]

    def __post_init__(self):
        if self.global_size < 1 or self.local_size < 1 or self.local_crops < 0:
            raise ValueError(f"crop sizes must be positive and the count at least 0: {self}")
        for low, high in (self.global_scale, self.local_scale):
            if not 0 < low <= high <= 1:
                raise ValueError(f"a crop's scale must satisfy 0 < low <= high <= 1: {self}")

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Crops of `image`, uint8 [h, w, 3].

        Returns:
          {"global": uint8 [2, S, S, 3], "local": uint8 [V, s, s, 3]}
        """
        whole = Image.fromarray(image)

        def crops(count: int, size: int, scale: tuple[float, float]) -> np.ndarray:
            out = np.empty((count, size, size, 3), np.uint8)
            for crop in out:
                resized = _crop_and_resize(whole, random_box(whole.size, rng, scale=scale), size)
                crop[:] = resized[:, ::-1] if rng.random() < 0.5 else resized
            return out

        return {
            "global": crops(GLOBAL_CROPS, self.global_size, self.global_scale),
            "local": crops(self.local_crops, self.local_size, self.local_scale),
        }


def random_box(
    size: tuple[int, int], rng: np.random.Generator, *, scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    """A crop box (left, top, right, bottom), in pixels, of an image of `size` (width, height).

    As torchvision's RandomResizedCrop.get_params: ten times draw an area, uniform in `scale`, and
    a ratio, log-uniform in 3/4 to 4/3; the first box that fits is placed uniformly. If none fits,
    the largest central box whose ratio lies in the range.
    """
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(height - h + 1))
            left = int(rng.integers(width - w + 1))
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _crop_and_resize(image: Image.Image, box: tuple[int, int, int, int], size: int) -> np.ndarray:
    return np.asarray(image.crop(box).resize((size, size), Image.Resampling.BICUBIC))
