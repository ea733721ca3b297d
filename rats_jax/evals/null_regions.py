"""Regions that know nothing of parts: what a model must beat at the same number of regions.

Shapes as in regions.py. k-means shares the model's features, the grid and SLIC see no model.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.evals.regions import EXACT, Size, check_grid, resize_labels, unit

_LLOYD = 20  # iterations of k-means
_SLIC_SIDE = 128  # pixels of the longer side
_SLIC_COMPACTNESS = 20
_SLIC_RUNS = 6


def grid_regions(*, size: Size, k: int) -> np.ndarray:
    """A rectangular grid of exactly K cells: what M2O gives for free, so a null baseline.

    The image is cut into r rows, row i into c_i columns, where the c_i differ by at most one and
    sum to K; a row's height is proportional to its c_i. So all cells have the same area (up to
    rounding to pixels), for primes too; r is the number of rows whose cells are squarest, by the
    mean of |log(width / height)|. K = 7 on a square: rows of 2, 2 and 3 cells.

    Args:
      size: (height, width) in pixels.
      k: cells.

    Returns:
      int32 [height, width], labels 0..K-1 in reading order.

    Raises:
      UserError: if the image is too small for K cells.
    """
    height, width = size
    best, distortion = None, np.inf
    for rows in range(1, min(k, height) + 1):
        firsts = np.arange(rows + 1) * k // rows  # each row's first label
        columns = np.diff(firsts)
        edges = (2 * firsts * height + k) // (2 * k)  # rounded heights
        if columns.max() > width or np.diff(edges).min() < 1:
            continue
        aspect = np.abs(np.log(width * k / (height * columns**2)))
        if np.average(aspect, weights=columns) < distortion:
            best, distortion = (firsts, columns, edges), np.average(aspect, weights=columns)
    if best is None:
        raise UserError(f"{height} x {width} pixels do not hold a grid of k={k} cells; lower k")
    firsts, columns, edges = best
    row = np.repeat(np.arange(len(columns)), np.diff(edges))[:, None]
    column = (2 * np.arange(width) + 1) * columns[row] // (2 * width)
    return (firsts[row] + column).astype(np.int32)


def slic_regions(image: np.ndarray, *, k: int) -> np.ndarray:
    """SLIC superpixels (Achanta et al. 2012; scikit-image's): as near to K as a few runs come, and
    never more.

    Chosen: of the image brought to at most 128 pixels, for 256 take three to four times as long and
    move M2O by about a point; compactness 20, with which M2O is mostly higher than with
    scikit-image's 10. A run that gives 95 % of K or more is the last.

    Args:
      image: uint8 [H, W, 3].
      k: regions asked for, at least 1.

    Returns:
      int32 [h, w] of that smaller size, labels 0, 1, ...
    """
    from skimage.segmentation import slic

    small = _at_most(image, _SLIC_SIDE)
    best, most = np.zeros(small.shape[:2], np.int32), 1
    low, high, asked = (0, 0), None, k  # (segments asked for, given): the latter as they like
    for _ in range(_SLIC_RUNS):
        labels = slic(
            small, n_segments=asked, compactness=_SLIC_COMPACTNESS, start_label=0, channel_axis=-1
        )
        count = int(labels.max()) + 1
        if most < count <= k:
            best, most = labels.astype(np.int32), count
        if k - k // 20 <= count <= k:
            break
        low, high = (low, (asked, count)) if count > k else ((asked, count), high)
        if high is None:
            asked = min(max(round(asked * k / count), asked + 1), 3 * asked)
        else:
            part = (k - low[1]) / (high[1] - low[1])
            asked = min(max(low[0] + round(part * (high[0] - low[0])), low[0] + 1), high[0] - 1)
            if asked <= low[0]:
                break
    return best


@partial(jax.jit, static_argnames=("grid", "k", "size", "seed"))
def kmeans_regions(
    features: jax.Array, *, grid: Size, k: int, size: Size | None = None, seed: int = 0
) -> jax.Array:
    """k-means on L2-normalised patch features, image by image.

    Seeds by greedy k-means++, then at most 20 Lloyd iterations. An image with fewer than K distinct
    features gets that many regions; a cluster that empties on the way stays empty.

    Args:
      features: [B, L, D] finite floats.
      grid: (h, w) patches.
      k: regions asked for.
      size: pixels of the result; None for one label per patch.
      seed: each image starts from the same seed, so its map does not depend on its batch.

    Returns:
      int32 [B, *size], or [B, h, w].

    Raises:
      UserError: if there are fewer than K patches.
    """
    images, length, _ = features.shape
    check_grid(grid, length)
    if not 1 <= k <= length:
        raise UserError(f"k={k} clusters of {length} patches; choose 1 to {length}")
    # the first seed is drawn evenly and only once; of a few draws of each other, the best is taken
    rng, draws = np.random.default_rng(seed), 2 + int(np.log(k))
    uniform = [np.repeat(rng.random(1), draws), *rng.random((k - 1, draws))]
    clusters = partial(_clusters, uniform=np.asarray(uniform, np.float32))
    labels = jax.vmap(clusters)(unit(features)).reshape(images, *grid)
    return labels if size is None else resize_labels(labels, size)


def _clusters(points: jax.Array, uniform: np.ndarray) -> jax.Array:
    """int32 [L], the cluster of each of the points [L, D]."""
    centres, there = _spread_centres(points, uniform)

    def nearest(centres: jax.Array) -> jax.Array:
        products = jnp.einsum("ld,kd->lk", points, centres, precision=EXACT)
        squares = jnp.where(there, (centres**2).sum(-1), jnp.inf)
        return jnp.argmin(squares - 2 * products, -1).astype(jnp.int32)

    def moved(_, centres: jax.Array) -> jax.Array:
        member = jax.nn.one_hot(nearest(centres), len(centres))  # [L, K]
        size = member.sum(0)[:, None]
        sums = jnp.einsum("lk,ld->kd", member, points, precision=EXACT)
        return jnp.where(size > 0, sums / jnp.maximum(size, 1), centres)

    return nearest(jax.lax.fori_loop(0, _LLOYD - 1, moved, centres))


def _spread_centres(points: jax.Array, uniform: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Greedy k-means++ seeds: of a few draws, the one that lowers the error most, as in
    scikit-learn, because a baseline should not lose by an unlucky draw.

    points: [L, D]. uniform: [K, draws] in 0..1. Returns [K, D], and which of them there are, [K]:
    fewer than K if the points run out.
    """
    squares = (points**2).sum(-1)

    def add(left: jax.Array, uniform: jax.Array) -> tuple[jax.Array, tuple]:
        cumulative = jnp.cumsum(left)
        drawn = jnp.searchsorted(cumulative, uniform * cumulative[-1], side="right")
        drawn = jnp.minimum(drawn, len(points) - 1)
        products = jnp.einsum("cd,ld->cl", points[drawn], points, precision=EXACT)
        distance = squares + squares[drawn, None] - 2 * products
        distance = jnp.where(distance < 1e-6, 0, distance)  # equal, but for rounding
        distance = jnp.minimum(distance, left)
        best = distance.sum(-1).argmin()
        return distance[best], (drawn[best], left.any())

    farther = jnp.full(len(points), 4.0)  # than points of length 1 can be
    _, (chosen, there) = jax.lax.scan(add, farther, uniform)
    return points[chosen], there


def _at_most(image: np.ndarray, side: int) -> np.ndarray:
    """The image, made smaller if a side is longer than that; averages of pixels."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    scale = side / max(height, width)
    height, width = (max(round(n * scale), 1) for n in (height, width))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
