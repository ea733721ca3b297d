"""Pictures of region maps: one overlay, and sheets that show methods side by side.

Images are uint8 [h, w, 3] RGB; label maps are integer [h, w]; colours are uint8 RGB triples.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rats_jax.parts.region_metrics import best_pairs, overlaps, pairwise_iou, score

# Okabe and Ito's seven, then 41 more. Each is the sRGB colour with the largest CIELAB distance to
# all before it; the distance is the minimum over normal, protanopic and deuteranopic vision
# (Machado et al. 2009).
PALETTE = np.array(
    [
        list(bytes.fromhex(colour))
        for colour in """
        E69F00 56B4E9 009E73 F0E442 0072B2 D55E00 CC79A7 0000FF 6969FF 4B3C0F E1F0C3 00FFFF
        A5FF87 780069 E10F4B 6900A5 E1965A 7896FF 781E3C E1A5A5 D200B4 785A78 1E1ED2 2DE187
        3CC3D2 874B00 4B693C F0C35A A5E1D2 5A1E87 4B4B87 F05A78 C30FF0 5A961E 1E5AD2 A52D2D
        A569D2 96005A 00D21E A5695A 965A96 A5D2FF 9600FF FF4B3C FFE1A5 C39669 A587C3 3C2DC3
        """.split()
    ],
    np.uint8,
)
# For regions without a truth region: the same hues in the same order, two thirds towards grey.
MUTED = (PALETTE // 3 + 96).astype(np.uint8)

Colours = Mapping[int, np.ndarray]
_GAP = 8  # pixels between cells
_NOTE = 18  # pixels for a line below a cell
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def label_colours(labels: np.ndarray, palette: np.ndarray = PALETTE) -> dict[int, np.ndarray]:
    """A colour for each id in a label map: `palette[id]` if it is free, else the next free one.

    So a part keeps its colour from picture to picture, and two parts of a picture share a colour
    only if there are more parts than colours.
    """
    colours: dict[int, np.ndarray] = {}
    taken: set[int] = set()
    for label in map(int, np.unique(labels)):
        slot = label % len(palette)
        if len(taken) < len(palette):
            while slot in taken:
                slot = (slot + 1) % len(palette)
        taken.add(slot)
        colours[label] = palette[slot]
    return colours


def matched_colours(
    prediction: np.ndarray, truth: np.ndarray, *, void: int | None = None
) -> dict[int, np.ndarray]:
    """Colours of a prediction that make it comparable to the truth coloured by `label_colours`.

    Predicted and truth regions are paired one to one for the largest sum of IoU (Hungarian, void
    pixels left out), as for O2O. A paired region gets its partner's colour; all others get muted
    ones. A pair may have little in common: the colours show which regions are compared, not how
    well they agree.
    """
    colours = label_colours(prediction, MUTED)
    partners = label_colours(truth)
    valid = np.ones(truth.shape, bool) if void is None else truth != void
    iou = pairwise_iou(overlaps(prediction, truth, void=void))
    truth_ids, predicted_ids = np.unique(truth[valid]), np.unique(prediction[valid])
    for row, column in zip(*best_pairs(iou), strict=True):
        if iou[row, column] > 0:
            colours[int(predicted_ids[column])] = partners[int(truth_ids[row])]
    return colours


def paint(
    labels: np.ndarray,
    image: np.ndarray,
    *,
    alpha: float = 0.6,
    colours: Colours | None = None,
    void: int | None = None,
) -> np.ndarray:
    """The image in grey, its regions tinted, with white lines of one pixel between them.

    The image is grey, because a tint over colours would look different in each picture.

    Args:
      labels: integer [h, w].
      image: uint8 [h, w, 3].
      alpha: weight of the tint, 0 (grey image with lines) to 1 (flat colours).
      colours: colour of each id; `label_colours(labels)` if None.
      void: id left untinted and dimmed.

    Returns:
      uint8 [h, w, 3].
    """
    if image.dtype != np.uint8 or image.shape != (*labels.shape, 3):
        raise ValueError(
            f"image is {image.dtype} {image.shape}; labels {labels.shape} need uint8 of that size"
        )
    colours = label_colours(labels) if colours is None else colours
    ids, positions = np.unique(labels, return_inverse=True)
    tint = np.array([colours[int(label)] for label in ids], np.float32)[positions]
    grey = image.mean(-1, keepdims=True)
    picture = (1 - alpha) * grey + alpha * tint.reshape(image.shape)
    if void is not None:
        picture = np.where((labels == void)[..., None], 0.5 * grey, picture)
    picture[_boundaries(labels)] = 255
    return np.round(picture).astype(np.uint8)


def part_sheet(
    images: Sequence[np.ndarray],
    columns: Mapping[str, Sequence[np.ndarray]],
    *,
    truth: str | None = None,
    void: int | None = None,
    alpha: float = 0.6,
    side: int = 224,
) -> Image.Image:
    """A titled grid of pictures: each row has an image, then its overlay for each column.

    Images smaller than `side` are enlarged before painting, by the least whole factor that reaches
    it, so that pixels stay square and boundaries thin. Save the sheet with `save_png`.

    Below each map that is compared with a truth is its O2O. Colours alone would be misleading:
    every map shares colours with some regions of the truth, even a plain grid.

    Args:
      images: one uint8 [h, w, 3] per row; sizes may differ.
      columns: title -> label maps, each of the size of its row's image; drawn in this order.
      truth: title of the column that is ground truth. The others are then coloured by
        `matched_colours`; without a truth every map is coloured independently.
      void: id in the truth column left untinted and dimmed.
      alpha: weight of the tints.
      side: least pixels of the longer side of each picture.
    """
    if len(images) == 0:
        raise ValueError("a sheet needs at least one image")
    for title, maps in columns.items():
        if len(maps) != len(images):
            raise ValueError(
                f"column {title!r} has {len(maps)} label maps for {len(images)} images"
            )
    if truth is not None and truth not in columns:
        raise ValueError(f"truth column {truth!r} is not among {list(columns)}")
    rows, notes = [], []
    for index, image in enumerate(images):
        factor = max(1, -(-side // max(image.shape[:2])))
        image = _enlarge(image, factor)
        cells, below = [image], [""]
        for title, maps in columns.items():
            labels = maps[index]
            below.append("")
            if truth is None or title == truth:
                colours = label_colours(labels)
            else:
                colours = matched_colours(labels, columns[truth][index], void=void)
                o2o = score(labels, columns[truth][index], void=void).o2o
                below[-1] = "" if np.isnan(o2o) else f"O2O {100 * o2o:.0f} %"
            ignored = void if title == truth else None
            labels = _enlarge(labels, factor)
            cells.append(paint(labels, image, alpha=alpha, colours=colours, void=ignored))
        rows.append(cells)
        notes.append(below)
    return compose(rows, ["image", *columns], notes)


def save_png(picture: Image.Image | np.ndarray, path: str | Path) -> Path:
    """Writes a sheet, or a uint8 [h, w, 3] array, as PNG; makes the folder; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(path, format="PNG")
    return path


def _enlarge(array: np.ndarray, factor: int) -> np.ndarray:
    return array.repeat(factor, 0).repeat(factor, 1)


def _boundaries(labels: np.ndarray) -> np.ndarray:
    """Bool [h, w]: pixels whose right or lower neighbour belongs to another region."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge


def compose(rows: list[list[np.ndarray]], titles: list[str], notes: list[list[str]]) -> Image.Image:
    """Places cells, listed row by row, on one picture, each with its note below. Columns are as
    wide as the widest cell."""
    heights = [row[0].shape[0] for row in rows]
    note = _NOTE if any(any(below) for below in notes) else 0
    small = ImageFont.load_default(size=12)
    width = max(row[0].shape[1] for row in rows)
    font = ImageFont.load_default(size=max(12, min(32, width // 12)))
    titles = [_wrap(title, font, width) for title in titles]
    paper = Image.new("RGB", (1, 1))
    boxes = [ImageDraw.Draw(paper).multiline_textbbox((0, 0), t, font=font) for t in titles]
    top = 2 * _GAP + int(max(box[3] for box in boxes))
    sheet = Image.new(
        "RGB",
        (_GAP + len(titles) * (width + _GAP), top + sum(heights) + (note + _GAP) * len(heights)),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        left = _GAP + column * (width + _GAP)
        centre = (left + width / 2, top - _GAP)
        draw.multiline_text(centre, title, fill=_INK, font=font, anchor="md", align="center")
        down = top
        for row, below, height in zip(rows, notes, heights, strict=True):
            cell = row[column]
            sheet.paste(Image.fromarray(cell), (left + (width - cell.shape[1]) // 2, down))
            place = (left + width / 2, down + height + 2)
            draw.text(place, below[column], fill=_INK, font=small, anchor="ma")
            down += height + note + _GAP
    return sheet


def _wrap(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Breaks a title into lines no wider than the column, inside a word only if necessary."""
    lines = [""]
    for word in title.split():
        line = f"{lines[-1]} {word}".strip()
        if font.getlength(line) <= width:
            lines[-1] = line
            continue
        lines.append("")
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(filter(None, lines))
