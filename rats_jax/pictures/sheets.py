"""Heat maps, and sheets of many small pictures with captions."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Dark to bright, even steps in lightness: the viridis of matplotlib (CC0) at nine points.
HEAT = np.array(
    [
        list(bytes.fromhex(colour))
        for colour in "440154 472D7B 3B528B 2C728E 21918C 28AE80 5EC962 ADDC30 FDE725".split()
    ],
    np.uint8,
)

Cell = tuple[str, np.ndarray]
_GAP = 8  # pixels
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def heat(values: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """uint8 [..., 3]: `low` is dark, `high` bright."""
    places = (values - low) / max(high - low, 1e-12) * (len(HEAT) - 1)
    steps = np.arange(len(HEAT))
    channels = [np.interp(places, steps, HEAT[:, c]) for c in range(3)]
    return np.round(np.stack(channels, -1)).astype(np.uint8)


def over(colours: np.ndarray, image: np.ndarray, *, alpha: float = 0.7) -> np.ndarray:
    """Colours of patches [h, w, 3] laid over the image in grey; uint8 of the image's size."""
    height, width = image.shape[:2]
    colours = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
    grey = image.mean(-1, keepdims=True)
    return np.round((1 - alpha) * grey + alpha * np.asarray(colours)).astype(np.uint8)


def sheet(
    rows: Sequence[tuple[str, Sequence[Cell]]], *, side: int, columns: int = 16
) -> Image.Image:
    """Titled rows of pictures, each with a caption below it; save it with `save_png`.

    Args:
      rows: (title, cells); a cell is (caption, uint8 [h, w, 3]). All pictures of one aspect.
      side: pixels of the longer side of each picture. Smaller ones are enlarged without smoothing.
      columns: the most in a line; a longer row goes on in the next line.
    """
    text, heading = (ImageFont.load_default(size=size) for size in (13, 16))
    tall, wide = max((cell.shape[:2] for _, cells in rows for _, cell in cells), key=max)
    height, width = (max(1, round(length * side / max(tall, wide))) for length in (tall, wide))
    captions = [caption for _, cells in rows for caption, _ in cells]
    step = _GAP + max(width, *(int(text.getlength(caption)) for caption in captions))
    across = min(columns, max(len(cells) for _, cells in rows)) * step
    across = max(across, *(int(heading.getlength(title)) + _GAP for title, _ in rows))
    line = height + 20 + _GAP
    down = sum(28 + line * -(-len(cells) // columns) for _, cells in rows)
    paper = Image.new("RGB", (_GAP + across, _GAP + down), _PAPER)
    draw = ImageDraw.Draw(paper)
    top = _GAP
    for title, cells in rows:
        draw.text((_GAP, top), title, fill=_INK, font=heading)
        top += 28
        for start in range(0, len(cells), columns):
            for place, (caption, cell) in enumerate(cells[start : start + columns]):
                left = _GAP + place * step + (step - _GAP - width) // 2
                paper.paste(_fitted(cell, (width, height)), (left, top))
                below = (left + width / 2, top + height + 2)
                draw.text(below, caption, fill=_INK, font=text, anchor="ma")
            top += line
    return paper


def _fitted(cell: np.ndarray, size: tuple[int, int]) -> Image.Image:
    way = Image.Resampling.NEAREST if cell.shape[1] < size[0] else Image.Resampling.BICUBIC
    return Image.fromarray(cell).resize(size, way)
