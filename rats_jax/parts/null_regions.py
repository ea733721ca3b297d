"""Null baselines, which a model must beat at the same number of regions.

Shapes as in regions.py. k-means uses the model's features; the grid and SLIC use no model.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.parts.regions import EXACT, Size, check_grid, resize_labels, unit

_LLOYD = 20  # iterations of k-means
_SLIC_SIDE = 128  # pixels of the longer side
_SLIC_COMPACTNESS = (20, 80, 320)  # the last gives nearly squares
_SLIC_LEAST = 12  # of fewer, larger segments SLIC returns only a fraction


def grid_regions(*, size: Size, k: int) -> np.ndarray:
    """A rectangular grid of exactly K cells: a null baseline for M2O.

    The image is cut into r rows, row i into c_i columns, where the c_i differ by at most one and
    sum to K; a row's height is proportional to its c_i. So all cells have the same area (up to
    rounding to pixels), also if K is prime. r is chosen so that cells are closest to squares, by
    the mean of |log(width / height)|. K = 7 on a square: rows of 2, 2 and 3 cells.

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
    """SLIC superpixels (Achanta et al. 2012; scikit-image's), merged to exactly K.

    SLIC does not return the requested number of regions; at small K it returns far fewer, which
    would make the baseline too weak. So twice as many are requested, with higher compactness if
    there are still fewer than K, and `merge_alike` merges them to K. Only an image of few pixels
    gets fewer.

    Our choices: the image is reduced to at most 128 pixels, because 256 take three to four times as
    long and change M2O by about a point; the compactness is 20, at which M2O is mostly higher than
    at scikit-image's 10.

    Args:
      image: uint8 [H, W, 3].
      k: regions, at least 1.

    Returns:
      int32 [h, w] of that smaller size, labels 0, 1, ...; each region is connected.
    """
    from skimage.color import rgb2lab
    from skimage.segmentation import slic

    small = _at_most(image, _SLIC_SIDE)
    for compactness in _SLIC_COMPACTNESS:
        segments = slic(
            small,
            n_segments=2 * max(k, _SLIC_LEAST),
            compactness=compactness,
            start_label=0,
            channel_axis=-1,
        )
        if segments.max() + 1 >= k:
            break
    return merge_alike(segments, rgb2lab(small), k=k)


def merge_alike(segments: np.ndarray, colours: np.ndarray, *, k: int) -> np.ndarray:
    """Merges two touching segments repeatedly until K are left: each time the two whose union
    increases the squared distances of pixels to their segment's mean colour least (Ward).

    Args:
      segments: int [h, w], labels 0, 1, ... without gaps.
      colours: [h, w, C], such as Lab.

    Returns:
      int32 [h, w], labels 0..K-1, or the segments if there are no more than K.
    """
    flat, count = segments.ravel(), int(segments.max()) + 1
    sizes = np.bincount(flat).astype(np.float64)
    sums = [np.bincount(flat, channel.ravel()) for channel in np.moveaxis(colours, -1, 0)]
    means = np.stack(sums, 1) / sizes[:, None]
    touch = np.zeros((count, count), bool)
    for one, other in ((segments[1:], segments[:-1]), (segments[:, 1:], segments[:, :-1])):
        touch[one, other] = touch[other, one] = True
    np.fill_diagonal(touch, False)

    def costs(i: int) -> np.ndarray:
        growth = sizes[i] * sizes / (sizes[i] + sizes) * ((means - means[i]) ** 2).sum(1)
        return np.where(touch[i], growth, np.inf)

    cost, joined = np.stack([costs(i) for i in range(count)]), np.arange(count)
    for _ in range(count - k):
        i, j = map(int, np.unravel_index(cost.argmin(), cost.shape))
        means[i] = np.average(means[[i, j]], axis=0, weights=sizes[[i, j]])
        sizes[i] += sizes[j]
        touch[i] |= touch[j]
        touch[:, i] = touch[i]
        touch[i, i] = touch[j] = touch[:, j] = False
        cost[i] = cost[:, i] = costs(i)
        cost[j] = cost[:, j] = np.inf
        joined[joined == j] = i
    _, places = np.unique(joined, return_inverse=True)
    return places[segments].astype(np.int32)


@partial(jax.jit, static_argnames=("grid", "k", "size", "seed"))
def kmeans_regions(
    features: jax.Array, *, grid: Size, k: int, size: Size | None = None, seed: int = 0
) -> jax.Array:
    """k-means on L2-normalised patch features, image by image.

    Seeds by greedy k-means++, then at most 20 Lloyd iterations. An image with fewer than K distinct
    features gets that number of regions; a cluster that becomes empty stays empty.

    Args:
      features: [B, L, D] finite floats.
      grid: (h, w) patches.
      k: the requested number of regions.
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
    # the first seed is drawn uniformly, once; each other seed is the best of a few draws
    rng, draws = np.random.default_rng(seed), 2 + int(np.log(k))
    uniform = [np.repeat(rng.random(1), draws), *rng.random((k - 1, draws))]
    clusters = partial(_clusters, uniform=np.asarray(uniform, np.float32))
    labels = jax.vmap(clusters)(unit(features)).reshape(images, *grid)
    return labels if size is None else resize_labels(labels, size)


def _clusters(points: jax.Array, uniform: np.ndarray) -> jax.Array:
    """int32 [L], the cluster of each of the points [L, D]."""
    centres, there = _spread_centres(points, jnp.asarray(uniform))

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


def _spread_centres(points: jax.Array, uniform: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Greedy k-means++ seeds: each is the draw, of a few, that reduces the error most, as in
    scikit-learn, because a baseline should not lose by an unlucky draw.

    points: [L, D]. uniform: [K, draws] in 0..1. Returns the seeds [K, D] and which of them are
    valid, bool [K]: fewer than K if there are fewer distinct points.
    """
    squares = (points**2).sum(-1)

    def add(left: jax.Array, uniform: jax.Array) -> tuple[jax.Array, tuple]:
        cumulative = jnp.cumsum(left)
        drawn = jnp.searchsorted(cumulative, uniform * cumulative[-1], side="right")
        drawn = jnp.minimum(drawn, len(points) - 1)
        products = jnp.einsum("cd,ld->cl", points[drawn], points, precision=EXACT)
        distance = squares + squares[drawn, None] - 2 * products
        distance = jnp.where(distance < 1e-6, 0, distance)  # equal up to rounding
        distance = jnp.minimum(distance, left)
        best = distance.sum(-1).argmin()
        return distance[best], (drawn[best], left.any())

    farther = jnp.full(len(points), 4.0)  # the largest squared distance of points of length 1
    _, (chosen, there) = jax.lax.scan(add, farther, uniform)
    return points[chosen], there


def _at_most(image: np.ndarray, side: int) -> np.ndarray:
    """The image, reduced by averaging pixels if a side is longer than `side`."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    scale = side / max(height, width)
    height, width = (max(round(n * scale), 1) for n in (height, width))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
