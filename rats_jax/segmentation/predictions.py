"""From what a model says of an image to labels of its pixels, or to instances.

Both follow Mask2Former (Cheng et al. 2022, appendix "inference"). Masks are resized once, from the
resolution of the model to that of the image.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.probes.patch_labels import pixel_labels
from rats_jax.segmentation.bilinear import Taps, between, taps
from rats_jax.segmentation.interface import Outputs

Size = tuple[int, int]
_SMALL_PRODUCT = 2**18  # multiplications


class Instances(NamedTuple):
    """K instances of an image, the highest score first. masks: bool [K, h, w], which may overlap,
    none empty. categories: int16 [K]. scores: float32 [K], 0 to 1."""

    masks: np.ndarray
    categories: np.ndarray
    scores: np.ndarray


def semantic(outputs: Outputs, size: Size) -> np.ndarray:
    """The class of each pixel, int16 [h, w]: the largest sum over queries of the probability of
    the class times that of the mask. Ties: the lower class.

    The resized masks of all queries are never in memory together: one row of pixels is classified
    after the other.

    Raises:
      UserError: outputs that are not finite.
    """
    check_finite(outputs)
    classes = _softmax(outputs.class_logits)[:, :-1]
    # In products that are too small for threads of BLAS: a row takes less than a millisecond, and
    # its threads would wait for each other for much longer where others use the cores too.
    together = int(np.clip(_SMALL_PRODUCT // classes.size, 1, 64))
    return np.stack(
        [
            (of_row.reshape(-1, together, len(classes)) @ classes).argmax(2).ravel()[: size[1]]
            for of_row in _rows(outputs, size, multiple=together)
        ]
    ).astype(np.int16)


def _rows(outputs: Outputs, size: Size, *, multiple: int) -> Iterator[np.ndarray]:
    """The mask probabilities of each row of pixels, float32 [w, Q], with more pixels at its end, so
    that w is a multiple of `multiple`."""
    masks = np.ascontiguousarray(outputs.mask_logits.transpose(1, 2, 0), np.float32)  # [h', w', Q]
    down, across = (taps(n, old) for n, old in zip(size, masks.shape, strict=False))
    across = Taps(*(np.pad(values, (0, -size[1] % multiple), "edge") for values in across))
    weight = across.weight[:, None]
    wide: dict[int, np.ndarray] = {}  # rows of the model, as wide as the image: the last two
    for first, second, share in zip(*down, strict=True):
        wide = {row: wide[row] for row in (first, second) if row in wide}
        for row in {first, second} - set(wide):
            of_row = masks[row]
            wide[row] = between(of_row[across.first], of_row[across.second], weight)
        yield _sigmoid(between(wide[first], wide[second].copy(), share))


def labels_of_scores(scores: np.ndarray, size: Size) -> np.ndarray:
    """The class of each pixel, int16 [h, w], from the scores of patches, float32 [h', w', C], which
    are enlarged bilinearly. Raises UserError if they are not finite."""
    _check_finite(scores)
    return pixel_labels(scores, size).astype(np.int16)


def instances(outputs: Outputs, size: Size, most: int = 100) -> Instances:
    """The `most` pairs of a query and a class with the highest class probability. A mask is where
    the logits are positive. A score is the class probability times the mean mask probability in
    the mask. Empty masks are left out: their score is 0, and they cannot match anything.

    Raises:
      UserError: outputs that are not finite.
    """
    check_finite(outputs)
    classes = _softmax(outputs.class_logits)[:, :-1]
    order = np.argsort(-classes.ravel(), kind="stable")[:most]
    queries, categories = np.divmod(order, classes.shape[1])
    distinct, places = np.unique(queries, return_inverse=True)
    found = [_mask(outputs.mask_logits[query], size) for query in distinct]
    certainty = np.array([of.certainty for of in found], np.float32)[places]
    scores = classes.ravel()[order] * certainty
    kept = np.argsort(-scores, kind="stable")
    kept = kept[certainty[kept] > 0]
    masks = np.zeros((len(kept), *size), bool)
    for mask, place in zip(masks, places[kept], strict=True):
        mask[found[place].box] = found[place].inside
    return Instances(masks, categories[kept].astype(np.int16), scores[kept])


class _Mask(NamedTuple):
    """A mask: bool [h, w] in a box of the image. certainty: the mean probability in it; 0 if it is
    empty."""

    box: tuple[slice, slice]
    inside: np.ndarray
    certainty: float


def _mask(logits: np.ndarray, size: Size) -> _Mask:
    """Where logits [h', w'], resized to the image, are positive.

    Only the box around positive logits is resized: a value between others that are all negative
    is negative."""
    positive = logits > 0
    rows, down = _reached(np.any(positive, axis=1), size[0])
    columns, across = _reached(np.any(positive, axis=0), size[1])
    logits = np.asarray(logits, np.float32)
    wide = between(logits[:, across.first], logits[:, across.second], across.weight)
    found = between(wide[down.first], wide[down.second], down.weight[:, None])
    inside = found > 0
    certainty = float(_sigmoid(found[inside]).mean()) if inside.any() else 0.0
    return _Mask((rows, columns), inside, certainty)


def _reached(positive: np.ndarray, pixels: int) -> tuple[slice, Taps]:
    """The slice of new pixels that a positive old one, bool [n], contributes to, and their taps."""
    every = taps(pixels, len(positive))
    reached = np.flatnonzero(positive[every.first] | positive[every.second])
    part = slice(reached[0], reached[-1] + 1) if len(reached) else slice(0)
    return part, Taps(*(values[part] for values in every))


def check_finite(outputs: Outputs) -> None:
    """Raises UserError if outputs are not finite."""
    _check_finite(outputs.class_logits)
    _check_finite(outputs.mask_logits)


def _check_finite(values: np.ndarray) -> None:
    # The sum is finite if all are; it takes a third of the time of looking at each.
    if not np.isfinite(values.sum(dtype=np.float64)) and not np.isfinite(values).all():
        raise UserError(
            "the outputs of the model are not finite: training has diverged; resume from an "
            "earlier checkpoint with a lower optimizer.learning_rate"
        )


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, float32."""
    logits = np.asarray(logits, np.float32)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """In place."""
    with np.errstate(over="ignore"):  # of very negative logits: infinity, whose inverse is 0
        np.negative(logits, out=logits)
        np.exp(logits, out=logits)
    logits += 1
    return np.reciprocal(logits, out=logits)
