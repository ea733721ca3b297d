"""Region maps: from a model's outputs to one label per pixel (paper section 3.2, Eq. 7).

Shape letters: B images, N registers, L = h w patches (row-major), D width, H heads, K regions.
A `size` is (height, width) in pixels. Every map labels regions 0..K-1; a region may end up empty.
"""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.cluster.vq import kmeans2

from rats_jax.errors import UserError

Size = tuple[int, int]
_EXACT = jax.lax.Precision.HIGHEST  # accelerators would otherwise round cosines to bf16 or TF32


@partial(jax.jit, static_argnames="top_k")
def register_maps(
    *, registers: jax.Array, patches: jax.Array, top_k: int
) -> tuple[jax.Array, jax.Array]:
    """Cosine of each kept register with each patch: `(maps, kept)`.

    Args:
      registers: [B, N, D] last-block registers, any float dtype.
      patches: [B, L, D] last-block patches.
      top_k: K, registers to keep, ranked by their largest cosine (ties: the lower index first).

    Returns:
      maps [B, K, L] float32 in rank order, and kept [B, K] int32, the registers' indices.

    Raises:
      UserError: if the model has fewer than K registers.
    """
    count = registers.shape[1]
    if not 1 <= top_k <= count:
        raise UserError(f"top_k={top_k} with {count} registers; choose 1 to {count}")
    cosine = jnp.einsum("bnd,bld->bnl", _unit(registers), _unit(patches), precision=_EXACT)
    _, kept = jax.lax.top_k(cosine.max(-1), top_k)
    return jnp.take_along_axis(cosine, kept[..., None], axis=1), kept


@partial(jax.jit, static_argnames=("grid", "top_k", "sigma", "size"))
def register_regions(
    *,
    registers: jax.Array,
    patches: jax.Array,
    grid: Size,
    top_k: int,
    sigma: float = 1.0,
    size: Size | None = None,
) -> jax.Array:
    """RATS regions: each pixel joins the kept register its patch resembles most (Eq. 7).

    Args:
      registers, patches, top_k: as for `register_maps`.
      grid: (h, w) patches.
      sigma: Gaussian smoothing of each map, in patches; 0 for none. The paper is silent: 1 chosen.
      size: pixels of the result; None for one label per patch.

    Returns:
      int32 [B, *size], or [B, h, w]; label k is the register of rank k.
    """
    maps, _ = register_maps(registers=registers, patches=patches, top_k=top_k)
    return _strongest(maps, grid=grid, sigma=sigma, size=size)


@partial(jax.jit, static_argnames=("grid", "sigma", "size"))
def attention_regions(
    *, attention: jax.Array, grid: Size, sigma: float = 1.0, size: Size | None = None
) -> jax.Array:
    """The ViT baseline: one region per head, from the last block's [CLS] attention.

    The paper says only "one map per head". Chosen: each head's map is divided by its sum over the
    patches, so that a head that mostly looks at [CLS] or at plain registers competes on where it
    looks, not on how much; then smoothing and argmax as for registers.

    Args:
      attention: [B, H, L] softmax weights from [CLS] to the patches.
      grid, sigma, size: as for `register_regions`.

    Returns:
      int32 [B, *size], or [B, h, w]; label k is head k.
    """
    attention = attention.astype(jnp.float32)
    total = jnp.maximum(attention.sum(-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    return _strongest(attention / total, grid=grid, sigma=sigma, size=size)


def kmeans_regions(
    features: np.ndarray, *, grid: Size, k: int, size: Size | None = None, seed: int = 0
) -> np.ndarray:
    """k-means on L2-normalised patch features, image by image: a null baseline.

    Seeds by greedy k-means++, then at most 20 Lloyd iterations. An image with fewer than K distinct
    features gets that many regions; a cluster that empties on the way stays empty.

    Args:
      features: [B, L, D] finite floats.
      grid, size: as for `register_regions`.
      k: regions asked for.
      seed: each image starts from the same seed, so its map does not depend on its batch.

    Returns:
      int32 [B, *size], or [B, h, w].
    """
    features = np.asarray(features, np.float32)
    images, length, _ = features.shape
    _check_grid(grid, length)
    if not 1 <= k <= length:
        raise UserError(f"k={k} clusters of {length} patches; choose 1 to {length}")
    features = features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
    labels = np.empty((images, length), np.int32)
    for image, points in enumerate(features):
        centres = _spread_centres(points, k, np.random.default_rng(seed))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="One of the clusters is empty")
            _, labels[image] = kmeans2(points, centres, iter=20, minit="matrix")
    labels = labels.reshape(images, *grid)
    return labels if size is None else resize_labels(labels, size)


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


def resize_labels(labels, size: Size):
    """Nearest-neighbour resize of labels [..., h, w] to [..., *size]; numpy or JAX, dtype kept.

    Half-pixel centres: pixel i of n reads cell floor((i + 1/2) h / n), as `nearest-exact` in
    PyTorch, so that a 14 x 14 grid falls on 224 pixels as 16 x 16 blocks, without a shift.
    """
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[..., rows[:, None], columns]


def _strongest(maps: jax.Array, *, grid: Size, sigma: float, size: Size | None) -> jax.Array:
    """Smooths maps [B, K, L] on the patch grid and labels each pixel by the largest (ties: lowest).

    Smoothing is separable, cut at 4 sigma, with half-sample reflection at the border: what
    `scipy.ndimage.gaussian_filter(mode="reflect")` does.
    """
    _check_grid(grid, maps.shape[-1])
    maps = maps.reshape(*maps.shape[:2], *grid)
    if sigma > 0:
        down, across = (jnp.asarray(_gaussian_matrix(length, sigma)) for length in grid)
        maps = jnp.einsum("ih,bkhw,jw->bkij", down, maps, across, precision=_EXACT)
    labels = jnp.argmax(maps, axis=1).astype(jnp.int32)
    return labels if size is None else resize_labels(labels, size)


def _gaussian_matrix(length: int, sigma: float) -> np.ndarray:
    """[length, length] float32: row i holds the weights of the inputs to output i."""
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    source = (np.arange(length)[:, None] + offsets) % (2 * length)
    source = np.minimum(source, 2 * length - 1 - source)  # reflect: d c b a | a b c d | d c b a
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], source), weights / weights.sum())
    return matrix.astype(np.float32)


def _spread_centres(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy k-means++ seeds from [L, D]: of a few draws, the one that lowers the error most.

    Fewer than K if the points run out, where SciPy's own "++" divides by zero; and greedy, as in
    scikit-learn, because a baseline should not lose by an unlucky draw.
    """
    squares = (points**2).sum(-1)
    chosen, nearest = [], np.ones(len(points), np.float32)
    draws = 1  # the first seed is drawn evenly
    while len(chosen) < k and nearest.any():
        odds = nearest / nearest.sum(dtype=np.float64)
        drawn = rng.choice(len(points), draws, p=odds)
        distance = squares + squares[drawn, None] - 2 * points[drawn] @ points.T
        distance[distance < 1e-6] = 0  # equal, but for rounding
        distance = distance if not chosen else np.minimum(distance, nearest)
        best = distance.sum(-1).argmin()
        chosen.append(drawn[best])
        nearest = distance[best]
        draws = 2 + int(np.log(k))
    return points[chosen]


def _unit(vectors: jax.Array) -> jax.Array:
    vectors = vectors.astype(jnp.float32)
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _check_grid(grid: Size, length: int) -> None:
    if grid[0] * grid[1] != length:
        raise ValueError(f"grid {grid} does not hold {length} patches")
