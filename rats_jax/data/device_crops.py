"""The device's part of the multi-crop: mirrors the host's crops, or cuts them out of canvases.

A crop of a canvas is two matrix products, one horizontal and one vertical, with the weights of
Pillow's bicubic resampling.
"""

import jax
import jax.numpy as jnp

from rats_jax.data.crops import GLOBAL_CROPS

CUBIC_A = -0.5  # as in Pillow; PyTorch uses -0.75


def flip_crops(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Mirrors crops from left to right where "flips" (bool [B, 2 + V], the two global crops first)
    is true. Returns {"global": uint8 [B, 2, S, S, 3], "local": uint8 [B, V, s, s, 3]}."""

    def flipped(crops: jax.Array, flips: jax.Array) -> jax.Array:
        return jnp.where(flips[..., None, None, None], crops[..., ::-1, :], crops)

    return {
        "global": flipped(batch["global"], batch["flips"][:, :GLOBAL_CROPS]),
        "local": flipped(batch["local"], batch["flips"][:, GLOBAL_CROPS:]),
    }


def crop_canvases(
    batch: dict[str, jax.Array], *, global_size: int, local_size: int
) -> dict[str, jax.Array]:
    """Cuts all crops of a batch out of its canvases, as Pillow's
    `image.crop(box).resize((size, size), BICUBIC)` does, then flips them left to right.

    The horizontal pass comes first, and its result is rounded, as in Pillow. Levels equal Pillow's
    except where a sum is close to a half. (Pillow 13 starts with the cheaper pass. Where that is
    the vertical one, levels differ by .3 on average.) Pixels outside the box have no weight; a
    pixel on the border of the box is weighted by its share inside.

    Crops are cut one at a time for the whole batch, so that temporary memory does not grow with
    the number of crops: at C = 512, 2 MB per image on a TPU, 7 MB on a CPU.

    Args:
      batch:
        "canvas": uint8 [B, C, C, 3], the image in the upper left corner;
        "boxes": float32 [B, 2 + V, 4], (left, top, right, bottom) in canvas pixels, not necessarily
          whole; within the canvas and not empty; the two global crops first;
        "flips": bool [B, 2 + V].
      global_size, local_size: side of the square crops, in pixels.

    Returns:
      {"global": uint8 [B, 2, S, S, 3], "local": uint8 [B, V, s, s, 3]}
    """
    planes = jnp.moveaxis(batch["canvas"], -1, 1).astype(jnp.bfloat16)  # exact: 8 bits
    boxes, flips = jnp.moveaxis(batch["boxes"], 1, 0), jnp.moveaxis(batch["flips"], 1, 0)

    def crops(which: slice, size: int) -> jax.Array:
        cut = jax.lax.map(lambda crop: _crop(planes, *crop, size), (boxes[which], flips[which]))
        return jnp.transpose(cut, (1, 0, 3, 4, 2))

    return {
        "global": crops(slice(None, GLOBAL_CROPS), global_size),
        "local": crops(slice(GLOBAL_CROPS, None), local_size),
    }


def _crop(planes: jax.Array, box: jax.Array, flip: jax.Array, size: int) -> jax.Array:
    """bfloat16 [B, 3, C, C], [B, 4], [B] -> uint8 [B, 3, size, size]."""
    left, top, right, bottom = jnp.moveaxis(box, -1, 0)
    across = resize_weights(left, right, size=size, pixels=planes.shape[-1])
    across = jnp.where(flip[:, None, None], across[:, ::-1], across)
    down = resize_weights(top, bottom, size=size, pixels=planes.shape[-2])
    x = _weighted_sum("bshw,biw->bshi", planes, across)
    return _weighted_sum("bshi,bjh->bsji", x, down).astype(jnp.uint8)


def _weighted_sum(subscripts: str, levels: jax.Array, weights: jax.Array) -> jax.Array:
    """The product of levels and weights, rounded to whole levels 0 to 255.

    Levels are exact in bfloat16, weights are not. Precision "high" is float32 on CPUs. On TPUs a
    weight is a sum of two bfloat16, with an error of 2^-17. On GPUs it is TF32, with an error of
    2^-11, at most .1 level.
    """
    sums = jnp.einsum(subscripts, levels.astype(jnp.float32), weights, precision="high")
    return jnp.clip(jnp.floor(sums + 0.5), 0, 255).astype(jnp.bfloat16)


def resize_weights(low: jax.Array, high: jax.Array, *, size: int, pixels: int) -> jax.Array:
    """The weight of each of `pixels` pixels in each of `size` samples of the interval [low, high).

    The kernel is Pillow's bicubic. It widens with the step between samples if that exceeds a pixel
    (antialiasing), and is cut off at the ends of the interval. Each row sums to 1.

    Args:
      low, high: float32 [...], in pixels; pixel k covers [k, k + 1).

    Returns:
      float32 [..., size, pixels]
    """
    length = (high - low)[..., None]
    step = length / size
    sample = (jnp.arange(size) + 0.5) * step
    edge = jnp.arange(pixels) - low[..., None]
    distance = (edge + 0.5)[..., None, :] - sample[..., :, None]
    inside = jnp.clip(jnp.minimum(edge + 1, length) - jnp.maximum(edge, 0), 0, 1)
    weights = _cubic(distance / jnp.maximum(step, 1)[..., None]) * inside[..., None, :]
    # The weights of a very narrow interval may all round to 0.
    return weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-6)


def _cubic(x: jax.Array) -> jax.Array:
    x = jnp.abs(x)
    near = ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x**2 + 1
    far = CUBIC_A * (((x - 5) * x + 8) * x - 4)
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0))
