"""What the host makes of an image with its truth for training: a random window of it.

Fields of both tasks: "image" uint8 [S, S, 3], not normalised, 0 in padding, which is to the right
and below; "size" int32 [2], height and width of the part that is not padding.

All random numbers are those of the generator that `write` receives, so that batches depend on
(seed, step) alone, see `rats_jax.data.pipeline`.
"""

from dataclasses import dataclass

import numpy as np

from rats_jax.data.samples import Fields
from rats_jax.segmentation.crops import Resize, Window, Windows, nearest, window_of_pixels
from rats_jax.segmentation.interface import VOID, Segmented
from rats_jax.segmentation.packed_masks import Packed, packed
from rats_jax.segmentation.photometric import distort

TRIES = 10  # windows


@dataclass(frozen=True, kw_only=True)
class SemanticSamples:
    """Random windows with a label map, as in MMSegmentation's recipes.

    Field: "labels" int16 [S, S], the place of the class, or VOID, also in padding.

    Attributes:
      crop: S.
      resize, scale: see `Windows`, whose `longest` is 4 S.
      one_class: the most share of a window's labelled pixels that one class may have; up to ten
        other windows are drawn. 1: any share.
      flip: the probability to mirror the image.
      color: whether to distort colours.
    """

    crop: int
    resize: Resize = "short_side"
    scale: tuple[float, float] = (0.5, 2.0)
    one_class: float = 0.75
    flip: float = 0.5
    color: bool = True

    def __post_init__(self):
        _windows(self)  # checks its options

    @property
    def fields(self) -> Fields:
        return {**_image_fields(self.crop), "labels": ((self.crop, self.crop), np.int16)}

    def write(self, image: Segmented, rng: np.random.Generator, out: dict[str, np.ndarray]) -> None:
        """Fills `out`. If no window fits `one_class`, the last with a labelled pixel is used."""
        assert image.labels is not None, "an image of --task=semantic"
        window, labels = self._draw(image.labels, rng)
        flip = rng.random() < self.flip
        _write_image(image.image, window, flip, self.color, rng, out)
        height, width = window.size
        out["labels"][:height, :width] = labels[:, ::-1] if flip else labels
        out["labels"][:height, width:] = VOID
        out["labels"][height:] = VOID

    def _draw(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[Window, np.ndarray]:
        """A window, and its part of the labels."""
        windows, chosen = _windows(self), None
        enough = self.one_class if self.one_class < 1 else np.inf
        whole = windows.draw_size(labels.shape, rng)
        for _ in range(TRIES + 1):
            window = windows.draw_window(whole, rng)
            rows, columns = nearest(window, labels.shape)
            part = labels.take(columns, 1).take(rows, 0)
            share = _largest_share(part)
            if chosen is None or share > 0:
                chosen = window, part
            if window.size == whole or 0 < share < enough:
                break  # all windows are alike, or this one fits
        assert chosen is not None
        return chosen


@dataclass(frozen=True, kw_only=True)
class InstanceSamples:
    """Random windows with the masks of instances: large-scale jitter.

    Fields: "masks" uint8 [M, S, ceil(S / 8)], `np.packbits` of bool [M, S, S]; "categories" int16
    [M], the place of the class, or -1 for no instance. Crowds and instances without a pixel in the
    window are left out.

    Attributes:
      crop: S.
      resize, scale: see `Windows`, whose `longest` does not limit.
      flip, color: as in `SemanticSamples`.
      most_instances: M; the instances with most pixels are kept.
    """

    crop: int
    resize: Resize = "inside"
    scale: tuple[float, float] = (0.1, 2.0)
    flip: float = 0.5
    color: bool = False
    most_instances: int = 100

    def __post_init__(self):
        _windows(self)  # checks its options

    @property
    def fields(self) -> Fields:
        count, side = self.most_instances, self.crop
        return {
            **_image_fields(side),
            "masks": ((count, side, -(-side // 8)), np.uint8),
            "categories": ((count,), np.int16),
        }

    def write(self, image: Segmented, rng: np.random.Generator, out: dict[str, np.ndarray]) -> None:
        """Fills `out`. Sizes and windows are drawn until an instance is in one, ten times at most;
        else the sample has no instance."""
        assert image.masks is not None and image.categories is not None
        assert image.crowd is not None
        single = np.flatnonzero(~image.crowd)
        windows, flip = _windows(self), rng.random() < self.flip
        for _ in range(TRIES):
            window = windows.draw_window(windows.draw_size(image.image.shape[:2], rng), rng)
            found = self._masks(image.masks, single, window, flip)
            if found:
                break
        _write_image(image.image, window, flip, self.color, rng, out)
        out["masks"][:], out["categories"][:] = 0, -1
        for place, (number, mask) in enumerate(found):
            out["categories"][place] = image.categories[number]
            out["masks"][place, mask.start : mask.start + len(mask.bits)] = mask.bits

    def _masks(
        self, masks: np.ndarray, numbers: np.ndarray, window: Window, flip: bool
    ) -> list[tuple[int, Packed]]:
        """The instances in the window, in their order; those with most pixels if too many."""
        found = []
        for number in numbers.tolist():
            mask = packed(masks[number], window, flip=flip, side=self.crop)
            if mask is not None:
                found.append((number, mask))
        largest = sorted(found, key=lambda item: -item[1].pixels)[: self.most_instances]
        return sorted(largest, key=lambda item: item[0])


def _largest_share(labels: np.ndarray) -> float:
    """The share that the most frequent class has of the labelled pixels; 0 without such pixels."""
    counts = np.bincount(labels.ravel() + 1)[1:]  # without VOID
    total = counts.sum()
    return float(counts.max() / total) if total else 0.0


def _image_fields(side: int) -> Fields:
    return {"image": ((side, side, 3), np.uint8), "size": ((2,), np.int32)}


def _windows(samples: SemanticSamples | InstanceSamples) -> Windows:
    is_short = samples.resize == "short_side"
    longest = 4 * samples.crop if is_short else int(samples.crop * max(samples.scale)) + 1
    return Windows(samples.crop, samples.resize, samples.scale, longest)


def _write_image(
    pixels: np.ndarray,
    window: Window,
    flip: bool,
    color: bool,
    rng: np.random.Generator,
    out: dict[str, np.ndarray],
) -> None:
    part = window_of_pixels(pixels, window)
    part = distort(part, rng) if color else part
    height, width = window.size
    out["size"][:] = window.size
    inner = out["image"][:height, :width]
    if flip:
        for channel in range(3):  # all at once is ten times slower
            inner[..., channel] = part[:, ::-1, channel]
    else:
        inner[:] = part
    out["image"][:height, width:] = 0
    out["image"][height:] = 0
