"""Interpolation of learned position embeddings, equal to PyTorch's bicubic.

PyTorch has two kinds, both with half-pixel centres; `jax.image.resize("cubic")` mixes them:

    plain        A = -0.75, replicated borders: used by every DINO checkpoint, and here
    antialiased  A = -0.5, no samples beyond the borders, kernel widened to the step when shrinking
                 (Pillow's bicubic): used by DINOv2 with registers, and timm
"""

import jax
import jax.numpy as jnp
import numpy as np


def cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' convolution kernel at distances of 0 or more; it is 0 at distances of 2 or more."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def bicubic_matrix(
    source: int, target: int, *, step: float | None = None, antialias: bool = False
) -> np.ndarray:
    """Matrix [target, source], float32, that resamples `source` points to `target` points.

    `step` is the distance between samples in units of source points; by default source / target.
    Equal to `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)` along one axis.
    """
    step = source / target if step is None else step
    centres = (np.arange(target) + 0.5) * step - 0.5
    if antialias:
        distance = np.abs(np.arange(source) - centres[:, None]) / max(step, 1)
        matrix = cubic(distance, a=-0.5)
        matrix /= matrix.sum(axis=1, keepdims=True)
        return matrix.astype(np.float32)
    first = np.floor(centres).astype(int)
    matrix = np.zeros((target, source))
    for tap in range(-1, 3):
        weight = cubic(np.abs(centres - (first + tap)), a=-0.75)
        np.add.at(matrix, (np.arange(target), np.clip(first + tap, 0, source - 1)), weight)
    return matrix.astype(np.float32)


def interpolate_positions(
    positions: jax.Array,
    *,
    native: tuple[int, int],
    grid: tuple[int, int],
    offset: float,
    antialias: bool = False,
) -> jax.Array:
    """Position embeddings [L, D] of the `native` (h, w) grid, resampled to another `grid`.

    offset: the official DINO code adds 0.1 to the target size before it computes the scale
        (vision_transformer.py, `interpolate_pos_encoding`), so it resamples 14 positions to 6
        patches with step 14 / 6.1. 0.1 reproduces this; 0 is the plain resize of timm and others.
    """
    if grid == native:
        return positions
    rows, columns = (
        bicubic_matrix(source, target, step=source / (target + offset), antialias=antialias)
        for source, target in zip(native, grid, strict=True)
    )
    table = positions.reshape(*native, -1)
    # Highest precision: on a TPU or GPU the default would round the embeddings to bf16 or tf32.
    table = jnp.einsum("ih,jw,hwD->ijD", rows, columns, table, precision="highest")
    return table.reshape(grid[0] * grid[1], -1)
