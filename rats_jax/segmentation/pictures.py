"""Pictures of predictions beside the truth."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from rats_jax.data.counted import counted
from rats_jax.parts.regions import resize_labels
from rats_jax.paths import printable
from rats_jax.pictures.fonts import drawable, font
from rats_jax.pictures.overlays import MUTED, PALETTE, compose, paint
from rats_jax.segmentation.evaluation import Example
from rats_jax.segmentation.interface import VOID
from rats_jax.segmentation.predictions import Instances

SHOWN = 0.3  # least score of an instance that is drawn
_MOST_INSTANCES = 20  # of an image
_MOST_CLASSES = 60  # in the legend
_SAME = 0.5  # least IoU of instances that are drawn in one colour
_VOID_COLOUR = np.array([128, 128, 128], np.uint8)
_GAP = 8  # pixels
_SWATCH = 14
_INK, _PAPER = (20, 20, 20), (255, 255, 255)
_TITLES = ("image", "truth", "prediction")


def prediction_sheet(
    examples: Sequence[Example], classes: Sequence[str], *, side: int = 320
) -> Image.Image:
    """One row for each example: the image, its truth and the prediction.

    Labels of pixels: a class has one colour in all rows, and a legend names the classes; below a
    prediction is the share of labelled pixels that are right. Instances: each has a colour, its
    outline, its class and, if predicted, its score; a predicted instance has the colour of the
    instance that it shares most pixels with (same class, IoU of at least .5), otherwise a greyish
    one. Those with a score below `SHOWN` are not drawn.

    side: pixels of the longer side of each picture.
    """
    if not examples:
        raise ValueError("a sheet needs at least one example")
    if isinstance(examples[0].prediction, Instances):
        drawn = [_instance_row(example, classes, side) for example in examples]
        return compose(*_columns(drawn))
    places = _by_frequency(examples)
    colours = {place: PALETTE[i % len(PALETTE)] for i, place in enumerate(places)}
    drawn = [_label_row(example, colours | {VOID: _VOID_COLOUR}, side) for example in examples]
    names = [classes[place] for place in places]
    return _with_legend(compose(*_columns(drawn)), names, list(colours.values()))


def _by_frequency(examples: Sequence[Example]) -> list[int]:
    """The classes in the pictures: by pixels in the truth, then those that are only predicted."""
    counts = [Counter[int](), Counter[int]()]
    for example in examples:
        for counter, labels in zip(counts, _label_maps(example), strict=True):
            ids, pixels = np.unique(labels[labels != VOID], return_counts=True)
            counter.update(dict(zip(ids.tolist(), pixels.tolist(), strict=True)))
    return list(dict.fromkeys(place for counter in counts for place, _ in counter.most_common()))


def _label_maps(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction."""
    truth, prediction = example.truth.labels, example.prediction
    assert truth is not None and isinstance(prediction, np.ndarray)
    return truth, prediction


class _True(NamedTuple):
    """The instances of an image, as `Segmented`."""

    masks: np.ndarray
    categories: np.ndarray
    crowd: np.ndarray


def _instances(example: Example) -> tuple[_True, Instances]:
    """Truth and prediction."""
    truth, prediction = example.truth, example.prediction
    assert truth.masks is not None and truth.categories is not None and truth.crowd is not None
    assert isinstance(prediction, Instances)
    return _True(truth.masks, truth.categories, truth.crowd), prediction


Row = tuple[list[np.ndarray], list[str]]  # pictures, and a line below each


def _columns(rows: Sequence[Row]) -> tuple[list[list[np.ndarray]], list[str], list[list[str]]]:
    return [cells for cells, _ in rows], list(_TITLES), [notes for _, notes in rows]


def _small(image: np.ndarray, side: int) -> np.ndarray:
    height, width = (max(1, round(n * side / max(image.shape[:2]))) for n in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _short(name: str) -> str:
    """The end of a name, for below its picture."""
    plain = printable(name).encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= 40 else f"...{plain[-37:]}"


def _label_row(example: Example, colours: Mapping[int, np.ndarray], side: int) -> Row:
    truth, prediction = _label_maps(example)
    labelled = np.not_equal(truth, VOID)
    image = _small(example.truth.image, side)
    pictures = [
        paint(resize_labels(labels, image.shape[:2]), image, colours=colours, void=VOID)
        for labels in (truth, prediction)
    ]
    right = np.equal(truth, prediction)[labelled].mean() if labelled.any() else None
    note = "no labelled pixel" if right is None else f"{100 * right:.0f} % of pixels right"
    return [image, *pictures], [_short(example.truth.name), "", note]


def _instance_row(example: Example, classes: Sequence[str], side: int) -> Row:
    truth, found = _instances(example)
    image = _small(example.truth.image, side)
    number = int((found.scores >= SHOWN).sum())
    drawn = min(number, _MOST_INSTANCES)
    own = [PALETTE[i % len(PALETTE)] for i in range(len(truth.masks))]
    partners = _partners(example, drawn)
    colours = [MUTED[i % len(MUTED)] if j is None else own[j] for i, j in enumerate(partners)]
    crowd = np.logical_or.reduce(truth.masks[truth.crowd]) if truth.crowd.any() else None
    of_truth = [f"{classes[k]}{' (crowd)' * bool(c)}" for k, c in zip(*truth[1:], strict=True)]
    of_found = [
        f"{classes[k]} {100 * score:.0f}"
        for k, score in zip(found.categories[:drawn], found.scores[:drawn], strict=True)
    ]
    pictures = [
        _outlined(image, truth.masks, own, of_truth, dimmed=crowd),
        _outlined(image, found.masks[:drawn], colours, of_found),
    ]
    note = f"{number} with a score of {100 * SHOWN:.0f} or more"
    if not number and len(found.scores):
        note = f"best score {100 * found.scores[0]:.0f}, none drawn"
    return [image, *pictures], [
        _short(example.truth.name),
        counted(len(truth.masks), "instance"),
        note,
    ]


def _partners(example: Example, number: int) -> list[int | None]:
    """For each of the first predictions, the true instance of its class that it matches."""
    truth, found = _instances(example)
    partners: list[int | None] = []
    for mask, category in zip(found.masks[:number], found.categories[:number], strict=True):
        same = np.flatnonzero((truth.categories == category) & ~truth.crowd)
        iou = [(mask & truth.masks[i]).sum() / (mask | truth.masks[i]).sum() for i in same]
        best = int(np.argmax(iou)) if iou else None
        partners.append(int(same[best]) if best is not None and iou[best] >= _SAME else None)
    return partners


def _outlined(
    image: np.ndarray,
    masks: np.ndarray,
    colours: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    dimmed: np.ndarray | None = None,
) -> np.ndarray:
    """The image in grey, with tinted instances, their outlines and names; the largest first."""
    size = image.shape[:2]
    picture = np.repeat(image.mean(-1, keepdims=True), 3, -1)
    if dimmed is not None:
        picture[resize_labels(dimmed, size)] *= 0.5
    small = [resize_labels(mask, size) for mask in masks]
    order = sorted(range(len(small)), key=lambda i: -int(small[i].sum()))
    for i in order:
        mask, colour = small[i], colours[i].astype(np.float64)
        picture[mask] = 0.5 * picture[mask] + 0.5 * colour
        picture[mask & ~binary_erosion(mask)] = colour
    paper = Image.fromarray(np.round(picture).astype(np.uint8))
    draw, text = ImageDraw.Draw(paper), font(11)
    for i in order:
        if small[i].any():
            _write(draw, drawable(names[i], text), small[i], tuple(colours[i].tolist()), text)
    return np.asarray(paper)


def _write(draw: ImageDraw.ImageDraw, name: str, mask: np.ndarray, colour: tuple, text) -> None:
    """A name on a plate of the instance's colour, in the middle of its mask."""
    height, width = mask.shape
    long, tall = text.getlength(name) + 4, 13
    down, across = (float(np.mean(places)) for places in np.nonzero(mask))
    left = min(max(across - long / 2, 0), max(width - long, 0))
    top = min(max(down - tall / 2, 0), max(height - tall, 0))
    draw.rectangle((left, top, left + long, top + tall), fill=colour)
    ink = _INK if np.dot(colour, (0.299, 0.587, 0.114)) > 110 else _PAPER
    draw.text((left + 2, top + tall / 2), name, fill=ink, font=text, anchor="lm")


def _with_legend(
    sheet: Image.Image, names: Sequence[str], colours: Sequence[np.ndarray]
) -> Image.Image:
    """The sheet, and below it a swatch and a name for each class, the most frequent first."""
    text = font(12)
    shown = [drawable(printable(name), text) for name in names[:_MOST_CLASSES]]
    step = 3 * _GAP + _SWATCH + int(max(text.getlength(name) for name in shown))
    columns = max(1, min((sheet.width - _GAP) // step, len(shown)))
    lines = -(-len(shown) // columns)
    more = len(names) - len(shown)
    height = (lines + (more > 0)) * (_SWATCH + _GAP) + _GAP
    paper = Image.new("RGB", (max(sheet.width, _GAP + step), sheet.height + height), _PAPER)
    paper.paste(sheet)
    draw = ImageDraw.Draw(paper)
    for i, (name, colour) in enumerate(zip(shown, colours, strict=False)):
        left = _GAP + i // lines * step
        top = sheet.height + i % lines * (_SWATCH + _GAP)
        swatch = (left, top, left + _SWATCH, top + _SWATCH)
        draw.rectangle(swatch, fill=tuple(colour.tolist()), outline=_INK)
        middle = (left + _SWATCH + _GAP, top + _SWATCH / 2)
        draw.text(middle, name, fill=_INK, font=text, anchor="lm")
    if more > 0:
        place = (_GAP, sheet.height + lines * (_SWATCH + _GAP) + _SWATCH / 2)
        draw.text(place, f"and {more} more", fill=_INK, font=text, anchor="lm")
    return paper
