"""Values of images at points, interpolated bilinearly.

Points are [B, P, 2]: (x, y) in [0, 1], from the left and the upper edge of the whole array. The
values equal those of torch's grid_sample(values, 2 * points - 1, align_corners=False): pixels are
squares with their values in the centers, and outside the array the values are 0.
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rats_jax.mask_head.options import LossOptions


class Taps(NamedTuple):
    """The four pixels around each point.

    x, y: int32 [B, P, 4], in the array. weights: float32 [B, P, 4], 0 outside the array.
    """

    x: jax.Array
    y: jax.Array
    weights: jax.Array


def taps_of(points: jax.Array, height: int, width: int) -> Taps:
    """The pixels of an array [height, width] around the points."""
    ends = jnp.array([width, height])
    position = points * ends - 0.5
    first = jnp.floor(position)
    share = position - first  # [B, P, 2], of the second pixel
    corners = jnp.array([[0, 0], [1, 0], [0, 1], [1, 1]])  # [4, 2]
    weights = jnp.where(corners == 1, share[..., None, :], 1 - share[..., None, :]).prod(-1)
    pixels = first.astype(jnp.int32)[..., None, :] + corners  # [B, P, 4, 2]
    inside = ((pixels >= 0) & (pixels < ends)).all(-1)
    pixels = jnp.clip(pixels, 0, ends - 1)
    return Taps(pixels[..., 0], pixels[..., 1], jnp.where(inside, weights, 0))


def pixel_of(points: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """x and y of the pixel that contains each point, int32 [B, P]."""
    ends = jnp.array([width, height])
    pixels = jnp.clip(jnp.floor(points * ends).astype(jnp.int32), 0, ends - 1)
    return pixels[..., 0], pixels[..., 1]


def take_rows(values: jax.Array, rows: jax.Array) -> jax.Array:
    """values [B, R, C] at rows [B, P] of each image: [B, P, C]."""
    return jax.vmap(lambda values, rows: values[rows])(values, rows)


def sample(values: jax.Array, points: jax.Array) -> jax.Array:
    """values [B, h, w, C] at points [B, P, 2]: [B, P, C]. C comes last, so that each pixel is read
    and, in the backward pass, added to, as one row."""
    height, width = values.shape[1:3]
    taps = taps_of(points, height, width)
    flat = values.reshape(len(values), height * width, -1)
    rows = taps.y * width + taps.x
    parts = (taps.weights[..., i, None] * take_rows(flat, rows[..., i]) for i in range(4))
    return reduce(jnp.add, parts)


class Drawn(NamedTuple):
    """Uniform random points of a batch, (x, y) in [0, 1] of the part that is image.

    matching: [B, P, 2]. candidates, others: for the losses; some of the candidates are chosen, and
    all of the others.
    """

    matching: jax.Array
    candidates: jax.Array
    others: jax.Array


def draw_points(key: jax.Array, batch: int, options: LossOptions) -> Drawn:
    """The points of one step. They are the same for all masks of an image and for all supervised
    layers, so that targets are read once, row by row."""
    sizes = options.points, options.candidates, options.points - options.uncertain
    keys = jax.random.split(key, len(sizes))
    drawn = [
        jax.random.uniform(key, (batch, size, 2)) for key, size in zip(keys, sizes, strict=True)
    ]
    return Drawn(*drawn)


def most_uncertain(logits: jax.Array, valid: jax.Array, count: int) -> jax.Array:
    """Which points are the `count` most uncertain of each mask: those whose logits are nearest to
    0, among the valid ones. float32 [B, P, M], 1 for a chosen point, else 0.

    logits: [B, P, M]. valid: bool [B, P]. Points that are as uncertain as the last chosen one share
    the remaining places, as fractions.
    """
    distance = jnp.where(valid[..., None], jnp.abs(logits), jnp.inf)
    limit = kth_smallest(distance, count)
    less, same = distance < limit, distance == limit
    places = count - jnp.sum(less, axis=1, keepdims=True)
    share = places / jnp.maximum(jnp.sum(same, axis=1, keepdims=True), 1)
    return jnp.where(valid[..., None], jnp.where(less, 1.0, jnp.where(same, share, 0.0)), 0.0)


def kth_smallest(x: jax.Array, k: int) -> jax.Array:
    """The k-th smallest (from 1) along axis 1 of non-negative float32 [B, P, M]: [B, 1, M].

    The order of non-negative floats is that of their bits, so it is found bit by bit, in 31 counts.
    A sort would take several times as long.
    """
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)

    def add_bit(i: jax.Array, known: jax.Array) -> jax.Array:
        tried = known | (1 << (30 - i))
        below = jnp.sum(bits < tried, axis=1, keepdims=True)
        return jnp.where(below < k, tried, known)

    start = jnp.zeros((x.shape[0], 1, x.shape[2]), jnp.int32)
    return jax.lax.bitcast_convert_type(jax.lax.fori_loop(0, 31, add_bit, start), jnp.float32)
