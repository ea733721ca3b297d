"""Region maps: from a model's outputs to one label per pixel (paper section 3.2, Eq. 7).

Shape letters: B images, N registers, L = h w patches (row-major), D width, H heads, K regions.
A `size` is (height, width) in pixels. Every map labels regions 0..K-1; a region may be empty.
`null_regions.py` has the baselines that a model must beat.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.errors import UserError

Size = tuple[int, int]
Argmax = Literal["patch", "pixel"]
EXACT = jax.lax.Precision.HIGHEST  # accelerators would otherwise round cosines to bf16 or TF32


@partial(jax.jit, static_argnames=("top_k", "centered"))
def register_maps(
    *, registers: jax.Array, patches: jax.Array, top_k: int, centered: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Cosine of each kept register with each patch: `(maps, kept)`.

    Args:
      registers: [B, N, D] last-block registers, any float dtype.
      patches: [B, L, D] last-block patches.
      top_k: K, registers to keep, ranked by their largest cosine (ties: the lower index first).
      centered: subtract the mean of an image's registers from its registers, and the mean of its
        patches from its patches, before the cosines. The paper does not do this. Tokens of an image
        share a large component, which depends on the image. Without centering, the few registers
        whose component is most like that of the patches win all patches (docs/emergence.md).

    Returns:
      maps [B, K, L] float32 in rank order, and kept [B, K] int32, the registers' indices.

    Raises:
      UserError: if the model has fewer than K registers.
    """
    count = registers.shape[1]
    if not 1 <= top_k <= count:
        raise UserError(f"top_k={top_k} with {count} registers; choose 1 to {count}")
    if centered:
        registers, patches = (
            x - x.mean(1, keepdims=True, dtype=jnp.float32) for x in (registers, patches)
        )
    cosine = jnp.einsum("bnd,bld->bnl", unit(registers), unit(patches), precision=EXACT)
    _, kept = jax.lax.top_k(cosine.max(-1), top_k)
    return jnp.take_along_axis(cosine, kept[..., None], axis=1), kept


@partial(jax.jit, static_argnames=("grid", "top_k", "sigma", "size", "argmax", "centered"))
def register_regions(
    *,
    registers: jax.Array,
    patches: jax.Array,
    grid: Size,
    top_k: int,
    sigma: float = 1.0,
    size: Size | None = None,
    argmax: Argmax = "patch",
    centered: bool = False,
) -> jax.Array:
    """RATS regions: each pixel joins the kept register its patch resembles most (Eq. 7).

    Args:
      registers, patches, top_k, centered: as for `register_maps`.
      grid: (h, w) patches.
      sigma: Gaussian smoothing of each map, in patches; 0 for none. The paper gives no value; 1 is
        our choice.
      size: pixels of the result; None for one label per patch.
      argmax: "patch" labels patches and enlarges the labels to `size`; "pixel" first resizes each
        map to `size`, bilinearly with half-pixel centres, and labels pixels.

    Returns:
      int32 [B, *size], or [B, h, w]; label k is the register of rank k.
    """
    maps, _ = register_maps(registers=registers, patches=patches, top_k=top_k, centered=centered)
    return _strongest(maps, grid=grid, sigma=sigma, size=size, argmax=argmax)


@partial(jax.jit, static_argnames=("grid", "sigma", "size", "argmax"))
def attention_regions(
    *,
    attention: jax.Array,
    grid: Size,
    sigma: float = 1.0,
    size: Size | None = None,
    argmax: Argmax = "patch",
) -> jax.Array:
    """The ViT baseline: one region per head, from the last block's [CLS] attention; or one per
    plain register, from its attention.

    The paper says only "one map per head". Our choice: each map is divided by its sum over the
    patches, so that for a head that mostly attends to [CLS] or to plain registers it matters where
    it attends, not how much. Smoothing and argmax are as for registers.

    Args:
      attention: [B, K, L] softmax weights to the patches: of [CLS] in each head, or of each plain
        register in the mean over heads.
      grid, sigma, size, argmax: as for `register_regions`.

    Returns:
      int32 [B, *size], or [B, h, w]; label k is map k.
    """
    attention = attention.astype(jnp.float32)
    total = jnp.maximum(attention.sum(-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    return _strongest(attention / total, grid=grid, sigma=sigma, size=size, argmax=argmax)


def resize_labels(labels, size: Size):
    """Nearest-neighbour resize of labels [..., h, w] to [..., *size]; numpy or JAX, dtype kept.

    Half-pixel centres: pixel i of n reads cell floor((i + 1/2) h / n), as `nearest-exact` in
    PyTorch, so that a 14 x 14 grid becomes 16 x 16 blocks of 224 pixels, without a shift.
    """
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[..., rows[:, None], columns]


def unit(vectors: jax.Array) -> jax.Array:
    """Vectors [..., D] scaled to length 1, float32; zeros stay zeros."""
    vectors = vectors.astype(jnp.float32)
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def check_grid(grid: Size, length: int) -> None:
    """Raises ValueError unless the grid has `length` patches."""
    if grid[0] * grid[1] != length:
        raise ValueError(f"grid {grid} does not hold {length} patches")


def _strongest(
    maps: jax.Array, *, grid: Size, sigma: float, size: Size | None, argmax: Argmax
) -> jax.Array:
    """Smooths maps [B, K, L] on the patch grid and labels each place by the largest (ties: lowest).

    Smoothing is separable, truncated at 4 sigma, with half-sample reflection at the border, as in
    `scipy.ndimage.gaussian_filter(mode="reflect")`.
    """
    check_grid(grid, maps.shape[-1])
    maps = maps.reshape(*maps.shape[:2], *grid)
    matrices = [_gaussian_matrix(length, sigma) for length in grid]
    if argmax == "pixel":
        assert size, "argmax over pixels needs their size"
        pairs = zip(size, matrices, strict=True)
        return _strongest_pixels(maps, *(bilinear_matrix(n, len(m)) @ m for n, m in pairs))
    if sigma > 0:
        down, across = matrices
        maps = jnp.einsum("ih,bkhw,jw->bkij", down, maps, across, precision=EXACT)
    labels = jnp.argmax(maps, axis=1).astype(jnp.int32)
    return labels if size is None else resize_labels(labels, size)


def _strongest_pixels(maps: jax.Array, down: np.ndarray, across: np.ndarray) -> jax.Array:
    """int32 [B, H, W] from maps [B, K, h, w] resized by [H, h] and [W, w]. Maps are resized one
    after the other: all K in pixels would fill the memory."""

    def stronger(best: tuple, numbered: tuple) -> tuple[tuple, None]:
        (strength, labels), (k, one) = best, numbered
        one = jnp.einsum("ih,bhw,jw->bij", down, one, across, precision=EXACT)
        won = one > strength
        return (jnp.where(won, one, strength), jnp.where(won, k, labels)), None

    shape = (len(maps), len(down), len(across))
    start = (jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32))
    each = (jnp.arange(maps.shape[1]), jnp.moveaxis(maps, 1, 0))
    (_, labels), _ = jax.lax.scan(stronger, start, each)
    return labels


def _gaussian_matrix(length: int, sigma: float) -> np.ndarray:
    """[length, length] float32: row i holds the weights of the inputs to output i."""
    if sigma == 0:
        return np.eye(length, dtype=np.float32)
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    source = (np.arange(length)[:, None] + offsets) % (2 * length)
    source = np.minimum(source, 2 * length - 1 - source)  # reflect: d c b a | a b c d | d c b a
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], source), weights / weights.sum())
    return matrix.astype(np.float32)


def bilinear_matrix(pixels: int, length: int) -> np.ndarray:
    """[pixels, length] float32: linear interpolation between centres, constant beyond the outer."""
    place = ((np.arange(pixels) + 0.5) * length / pixels - 0.5).clip(0, length - 1)
    distance = np.abs(place[:, None] - np.arange(length))
    return np.maximum(1 - distance, 0).astype(np.float32)
