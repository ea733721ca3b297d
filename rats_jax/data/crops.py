"""DINO's multi-crop: the boxes that are cut out of an image, and which crops are mirrored."""

import math
from dataclasses import dataclass

import numpy as np

RATIO = (3 / 4, 4 / 3)  # width / height
LOG_LOW, LOG_SPAN = math.log(RATIO[0]), math.log(RATIO[1]) - math.log(RATIO[0])
GLOBAL_CROPS = 2


@dataclass(frozen=True, kw_only=True)
class MultiCrop:
    """Random resized crops of one image: two global and `local_crops` local ones.

    Each crop is flipped with probability .5. Official recipe: `main_dino.py`, class
    DataAugmentationDINO; the crop is torchvision's RandomResizedCrop with bicubic, antialiased
    resampling. `samples.py` cuts the crops out; the device changes their colours later.

    Attributes:
      global_size, local_size: side of the square crops, in pixels.
      local_crops: number of local crops; may be 0.
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

    @property
    def views(self) -> int:
        """Number of crops of one image, global and local."""
        return GLOBAL_CROPS + self.local_crops

    def draw(
        self, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[list[tuple[int, int, int, int]], list[bool]]:
        """Draws the views of an image of `size` (width, height), the global crops first.

        Returns:
          Each view's box (left, top, right, bottom) in pixels, and whether the view is flipped
          from left to right.
        """
        boxes, flips = [], []
        for view in range(self.views):
            scale = self.global_scale if view < GLOBAL_CROPS else self.local_scale
            boxes.append(random_box(size, rng, scale=scale))
            flips.append(rng.random() < 0.5)
        return boxes, flips


def random_box(
    size: tuple[int, int], rng: np.random.Generator, *, scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draws a crop box (left, top, right, bottom) in pixels. `size` is that of the image (width,
    height).

    The method is that of torchvision's RandomResizedCrop.get_params. It draws an area, uniform in
    `scale`, and a ratio, log-uniform in 3/4 to 4/3, up to ten times. The first box that fits is
    placed uniformly. If none fits, the result is the largest central box with an allowed ratio.
    """
    width, height = size
    low, high = scale
    for _ in range(10):
        # This is `rng.uniform` without its checks, which take most of the time.
        area = width * height * (low + (high - low) * rng.random())
        ratio = math.exp(LOG_LOW + LOG_SPAN * rng.random())
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
