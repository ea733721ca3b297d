"""The masks that an image has, read from a batch at points, without making them as arrays.

A batch has "image" uint8 [B, S, S, 3] and "size" int32 [B, 2], height and width of the part that is
image. Semantic: "labels" int16 [B, S, S], with VOID for pixels that do not count. Instances:
"masks" uint8 [B, M, S, ceil(S / 8)], bits as of np.packbits, and "categories" int16 [B, M], -1 for
no mask.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rats_jax.mask_head.points import pixel_of, take_rows, taps_of

#: The label of pixels that do not count; rats_jax.parts.datasets.VOID.
VOID = -1


class Targets(NamedTuple):
    """classes: int32 [B, M]. present: bool [B, M], false for padding."""

    classes: jax.Array
    present: jax.Array


class AtPoints(NamedTuple):
    """points: float32 [B, P, 2], in [0, 1] of the whole array. values: float32 [B, P, M], the share
    of a mask at a point. valid: bool [B, P], whether the pixel of a point counts."""

    points: jax.Array
    values: jax.Array
    valid: jax.Array


def targets_of(batch: dict[str, jax.Array], *, classes: int, queries: int) -> Targets:
    """The targets of a batch. Semantic: one for each class that an image has; where it has more
    than queries, those with the most pixels."""
    if "labels" not in batch:
        categories = batch["categories"].astype(jnp.int32)
        return Targets(jnp.maximum(categories, 0), categories >= 0)
    labels = batch["labels"].reshape(len(batch["labels"]), -1, 1)
    pixels = jnp.sum(labels == jnp.arange(classes, dtype=labels.dtype), axis=1, dtype=jnp.int32)
    count, largest = jax.lax.top_k(pixels, min(classes, queries))
    return Targets(largest, count > 0)


def at_points(batch: dict[str, jax.Array], targets: Targets, drawn: jax.Array) -> AtPoints:
    """The targets at points [B, P, 2] that were drawn in [0, 1] of the part that is image.

    Where a point lies between pixels that count and pixels that do not, only the former are
    interpolated.
    """
    side = batch["image"].shape[1]
    points = drawn * batch["size"][:, None, ::-1] / side
    read = _labels_at if "labels" in batch else _masks_at
    taps = taps_of(points, side, side)
    values, ignored = 0.0, 0.0
    for i in range(4):
        weights = taps.weights[..., i, None]
        value, void = read(batch, targets, taps.x[..., i], taps.y[..., i])
        values += weights * value
        ignored += weights * void[..., None]
    _, void = read(batch, targets, *pixel_of(points, side, side))
    # The pixel of a valid point has a weight of a quarter or more.
    return AtPoints(points, values / jnp.maximum(1 - ignored, 0.25), ~void)


def _labels_at(batch: dict, targets: Targets, x: jax.Array, y: jax.Array):
    """Whether pixels [B, P] are of each target, [B, P, M], and whether they do not count."""
    labels = batch["labels"]
    side = labels.shape[1]
    label = take_rows(labels.reshape(len(labels), -1, 1), y * side + x).astype(jnp.int32)
    own = (label == targets.classes[:, None]) & targets.present[:, None]
    return own, label[..., 0] == VOID


def _masks_at(batch: dict, targets: Targets, x: jax.Array, y: jax.Array):
    masks = batch["masks"]
    packed = masks.shape[-1]
    by_pixel = masks.reshape(*masks.shape[:2], -1).swapaxes(1, 2)  # [B, S * ceil(S / 8), M]
    octets = take_rows(by_pixel, y * packed + x // 8)
    own = (octets >> (7 - x % 8).astype(jnp.uint8)[..., None]) & 1
    height, width = batch["size"][:, 0, None], batch["size"][:, 1, None]
    return (own == 1) & targets.present[:, None], (x >= width) | (y >= height)
