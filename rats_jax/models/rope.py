"""Axial rotary position embedding, as in DINOv3: positions rotate queries and keys.

Half of a head's feature pairs are rotated by the row of the patch, half by its column, each pair by
the angle 2 pi coordinate / period. Coordinates are in [-1, 1] across an image of any shape and
size, so there is no grid to interpolate.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

#: Cosine and sine for every token, each float32 [T, 1, d / 2].
Rotation = tuple[jax.Array, jax.Array]


def axial_rotation(
    grid: tuple[int, int], periods: Sequence[float], *, before: int, after: int
) -> Rotation:
    """The rotation of the patches of a (h, w) grid, row by row.

    periods: d / 4 values, the same for rows and columns; a period of 2 is the side of the image.
    before, after: how many tokens, which are not rotated, precede and follow the patches.
    """

    def angles(size: int) -> np.ndarray:
        coordinates = 2 * (np.arange(size) + 0.5) / size - 1
        return 2 * np.pi * coordinates[:, None] / np.asarray(periods)

    def of_tokens(function) -> jax.Array:
        rows, columns = (function(angles(size)).astype(np.float32) for size in grid)
        shape = (*grid, len(periods))
        rows = jnp.broadcast_to(rows[:, None], shape)
        columns = jnp.broadcast_to(columns[None], shape)
        patches = jnp.concatenate([rows, columns], axis=-1).reshape(-1, 1, 2 * len(periods))
        still = function(np.float32(0))
        return jnp.pad(patches, ((before, after), (0, 0), (0, 0)), constant_values=still)

    return of_tokens(np.cos), of_tokens(np.sin)


def rotate(x: jax.Array, rotation: Rotation) -> jax.Array:
    """x [B, T, H, d], rotated in float32 and returned in x's dtype. A pair is a feature of the
    first half and the feature in the same place of the second half."""
    cos, sin = rotation
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
