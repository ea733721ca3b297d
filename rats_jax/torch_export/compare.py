"""Compares the exported model with the trained one by forward passes in float32."""

from collections.abc import Callable, Iterable

import jax
import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.errors import UserError

#: Relative to the largest absolute value of an output. Rounding causes about 1e-6, a wrong weight
#: more than 0.01.
TOLERANCE = 1e-4
LARGEST = 1024  # limit of the tested size, in pixels
PARTS = ("registers", "patches", "global vectors")

#: Images [B, 3, h, w] -> registers, patches, global vectors.
Outputs = Callable[[np.ndarray], tuple[np.ndarray, ...]]


def references(backbone: Backbone) -> Iterable[tuple[np.ndarray, tuple[np.ndarray, ...]]]:
    """Images [2, 3, h, w] of the native size and of another, each with the outputs of JAX."""
    patch, size = backbone.options.patch, backbone.options.image_size
    size = min(size, max(LARGEST // patch, 1) * patch)
    rng = np.random.default_rng(0)
    features = jax.jit(lambda images: backbone.features(images)[:3])
    for height, width in ((size, size), (size + 2 * patch, max(size - patch, patch))):
        images = rng.standard_normal((2, 3, height, width), np.float32)
        with jax.default_matmul_precision("highest"):
            found = features(np.moveaxis(images, 1, -1))
        yield images, tuple(np.asarray(x) for x in found)


def difference(outputs: Outputs, references: Iterable, *, what: str) -> float:
    """The largest absolute difference over all outputs and images.

    Raises:
      UserError: a difference is over the tolerance.
    """
    largest = 0.0
    for images, expected in references:
        for part, ours, theirs in zip(PARTS, expected, outputs(images), strict=True):
            if not ours.size:
                continue
            far, scale = np.abs(ours - theirs).max(), np.abs(ours).max()
            if not far <= TOLERANCE * scale:
                h, w = images.shape[2:]
                raise UserError(
                    f"{what}: the {part} of the exported model differ from those of the JAX model "
                    f"at {h} x {w} pixels (by up to {far:.1e}, with values up to {scale:.1e}); "
                    "the export was removed. Please report this, with the versions of jax and "
                    "torch"
                )
            largest = max(largest, float(far))
    return largest
