"""Heat maps on a fixed scale, and sheets of many small pictures with captions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from rats_jax.pictures.fonts import Font, drawable, font

# Dark to bright, even steps in lightness: the viridis of matplotlib (CC0) at nine points.
HEAT = np.array(
    [
        list(bytes.fromhex(colour))
        for colour in "440154 472D7B 3B528B 2C728E 21918C 28AE80 5EC962 ADDC30 FDE725".split()
    ],
    np.uint8,
)


class Scale(NamedTuple):
    """Which values are dark and which are bright.

    It does not depend on the map: a uniform map that is stretched to its own range would seem to
    have structure. log: equal ratios are equal steps. unit: its name, for display.
    """

    low: float
    high: float
    log: bool = False
    unit: str = ""

    def values(self, count: int) -> np.ndarray:
        """`count` values in even steps from `low` to `high`."""
        return (np.geomspace if self.log else np.linspace)(self.low, self.high, count)


#: The middle of each scale is the neutral value: a cosine of 0, and uniform attention.
COSINE = Scale(-1, 1, unit="cosine")
ATTENTION = Scale(0.1, 10, log=True, unit="times uniform attention")

Cell = tuple[str, np.ndarray]
_GAP = 8  # pixels
_WIDTH = 700  # minimum pixels of a sheet, which the text next to the bar needs
_BAR = (160, 12)  # pixels of a scale's bar
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def heat(values: np.ndarray, scale: Scale) -> np.ndarray:
    """uint8 [..., 3]; values beyond the ends of the scale have the colours of the ends."""
    low, high = scale.low, scale.high
    if scale.log:
        values = np.log(np.maximum(values, low))
        low, high = np.log(low), np.log(high)
    places = (values - low) / max(high - low, 1e-12) * (len(HEAT) - 1)
    steps = np.arange(len(HEAT))
    channels = [np.interp(places, steps, HEAT[:, c]) for c in range(3)]
    return np.round(np.stack(channels, -1)).astype(np.uint8)


def value_range(values: np.ndarray) -> str:
    """The lowest and the highest value, as text for a caption."""
    low, high = (f"{x:.{2 if abs(x) < 10 else 0}f}" for x in (values.min(), values.max()))
    return f"{low} to {high}"


def over(colours: np.ndarray, image: np.ndarray, *, alpha: float | np.ndarray = 0.7) -> np.ndarray:
    """Colours of patches [h, w, 3] blended over the image in grey; uint8 of the image's size.
    alpha: opacity of the colours, 0 to 1, or of each pixel [height, width, 1]."""
    height, width = image.shape[:2]
    large = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
    grey = image.mean(-1, keepdims=True)
    return np.round((1 - alpha) * grey + alpha * np.asarray(large)).astype(np.uint8)


def sheet(
    rows: Sequence[tuple[str, Sequence[Cell]]],
    *,
    side: int,
    columns: int = 16,
    scale: Scale | None = None,
) -> Image.Image:
    """Titled rows of pictures, each with a caption below it; save it with `save_png`.

    Args:
      rows: (title, cells); a cell is (caption, uint8 [h, w, 3]). All pictures have the same aspect
        ratio. The middle of a title that is wider than the pictures is left out.
      side: pixels of the longer side of each picture. Smaller ones are enlarged without smoothing.
      columns: maximum number of pictures in a line; a longer row continues in the next line.
      scale: the scale of the heat maps, drawn at the top.
    """
    text, heading = font(12), font(15)
    tall, wide = max((cell.shape[:2] for _, cells in rows for _, cell in cells), key=max)
    height, width = (max(1, round(length * side / max(tall, wide))) for length in (tall, wide))
    captions = [caption for _, cells in rows for caption, _ in cells]
    step = _GAP + max(width, *(int(text.getlength(caption)) for caption in captions))
    across = max(min(columns, max(len(cells) for _, cells in rows)) * step, _WIDTH)
    line = height + 20 + _GAP
    head = 28 if scale else 0
    down = head + sum(28 + line * -(-len(cells) // columns) for _, cells in rows)
    paper = Image.new("RGB", (_GAP + across, _GAP + down), _PAPER)
    draw = ImageDraw.Draw(paper)
    if scale:
        _draw_scale(paper, scale, text)
    top = _GAP + head
    for title, cells in rows:
        shown = _elided(drawable(title, heading), heading, across)
        draw.text((_GAP, top), shown, fill=_INK, font=heading)
        top += 28
        for start in range(0, len(cells), columns):
            for place, (caption, cell) in enumerate(cells[start : start + columns]):
                left = _GAP + place * step + (step - _GAP - width) // 2
                paper.paste(_fitted(cell, (width, height)), (left, top))
                below = (left + width / 2, top + height + 2)
                draw.text(below, caption, fill=_INK, font=text, anchor="ma")
            top += line
    return paper


def _draw_scale(paper: Image.Image, scale: Scale, font: Font) -> None:
    """Draws the bar, and next to it the values of both ends and of the middle."""
    width, height = _BAR
    bar = np.tile(heat(scale.values(width), scale), (height, 1, 1))
    paper.paste(Image.fromarray(bar), (_GAP, _GAP))
    low, middle, high = scale.values(3)
    less, more = (" or less", " or more") if scale.log else ("", "")
    said = f"dark is {low:g}{less}, the middle {middle:g}, bright {high:g}{more}"
    said = f"{scale.unit}: {said}"
    draw = ImageDraw.Draw(paper)
    draw.text((2 * _GAP + width, _GAP - 2), said, fill=_INK, font=font)


def _elided(title: str, font: Font, width: int) -> str:
    """The title, shortened in its middle to fit this width."""
    shown, keep = title, len(title)
    while (length := font.getlength(shown)) > width and keep > 2:
        keep = min(keep - 1, int(keep * width / length))
        shown = f"{title[: keep // 2]}...{title[len(title) - keep // 2 :]}"
    return shown


def _fitted(cell: np.ndarray, size: tuple[int, int]) -> Image.Image:
    way = Image.Resampling.NEAREST if cell.shape[1] < size[0] else Image.Resampling.BICUBIC
    return Image.fromarray(cell).resize(size, way)
