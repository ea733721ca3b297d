"""The mask head: registers and patches of a backbone -> classes, mask embeddings, pixel features.

Each register is a query. The logit of a pixel for a query is the product of the query's embedding
and the pixel's features. There is no decoder, because registers have read the patches in every
layer. (EoMT has such a head on learned queries that join the last blocks of a ViT.)
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.mask_head.options import HeadOptions
from rats_jax.models.axes import BATCH, FSDP, TENSOR, constrain
from rats_jax.models.block import layer, layer_norm, stack
from rats_jax.models.gelu import gelu
from rats_jax.models.linear import STD, Affine, Axes, add_bias, cast_einsum
from rats_jax.models.remat import rematerialize


class Masks(NamedTuple):
    """class_logits: float32 [B, Q, C + 1], the last for no object. embeddings: [B, Q, E].
    pixels: [B, h, w, E]. The last two are in the compute dtype."""

    class_logits: jax.Array
    embeddings: jax.Array
    pixels: jax.Array


def mask_logits(embeddings: jax.Array, pixels: jax.Array) -> jax.Array:
    """Embeddings [B, Q, E] and pixels [B, h, w, E] -> float32 [B, h, w, Q].

    Divided by the square root of E, so that they are small at the start.
    """
    scaled = embeddings * embeddings.shape[-1] ** -0.5
    return jnp.einsum("BhwE,BQE->BhwQ", pixels, scaled, preferred_element_type=jnp.float32)


class MaskHead(nnx.Module):
    """See the module's docstring. width: D, of the backbone."""

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        options: HeadOptions,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        inner, stages = options.width, options.upscale.bit_length() - 1
        self.classify = linear(width, classes + 1, rngs=rngs)
        self.embed = Embed(width=width, inner=inner, rngs=rngs)
        self.project = linear(width, inner, rngs=rngs)
        self.stages = (
            stack(lambda rngs: Upscale(inner, dtype=dtype, rngs=rngs), depth=stages, rngs=rngs)
            if stages
            else None
        )
        self.count = stages

    def __call__(self, registers: jax.Array, patches: jax.Array, grid: tuple[int, int]) -> Masks:
        """Registers [B, N, D] and patches [B, L, D], both after the final norm, L = h * w."""
        class_logits = apply(self.classify, registers, whole=True).astype(jnp.float32)
        pixels = apply(self.project, patches).reshape(len(patches), *grid, -1)
        if self.stages is not None:
            for i in range(self.count):
                pixels = layer(self.stages, i)(pixels)
        return Masks(
            constrain(class_logits, BATCH, None, None),
            constrain(self.embed(registers), BATCH, None, None),
            constrain(pixels, BATCH, None, None, None),
        )


class Embed(nnx.Module):
    """Three layers with GELU between them: [..., D] -> [..., E]. On a mesh, registers stay on the
    devices of their heads, and kernels are gathered."""

    def __init__(self, *, width: int, inner: int, rngs: nnx.Rngs):
        self.fc1 = linear(width, inner, rngs=rngs)
        self.fc2 = linear(inner, inner, rngs=rngs)
        self.fc3 = linear(inner, inner, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = gelu(apply(self.fc1, x, whole=True))
        return apply(self.fc3, gelu(apply(self.fc2, x, whole=True)), whole=True)


class Upscale(nnx.Module):
    """Twice the resolution: [B, h, w, E] -> [B, 2 h, 2 w, E]. A transposed convolution with kernel
    and stride 2, which is a linear map of each pixel, then GELU, a depthwise 3 x 3 convolution, and
    LayerNorm."""

    def __init__(self, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.dtype = dtype
        self.grow = Affine(
            (width, 2, 2, width), (width,), axes=(FSDP, None, None, TENSOR), rngs=rngs
        )
        rescale(self.grow, width)
        self.depthwise = nnx.Param(nnx.initializers.normal(1 / 3)(rngs.params(), (3, 3, width)))
        self.norm = layer_norm(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        batch, h, w, width = x.shape
        x = cast_einsum("BhwE,EyxF->BhywxF", x, self.grow.kernel[...], self.grow.axes)
        x = gelu(add_bias(x.reshape(batch, 2 * h, 2 * w, width), self.grow.bias[...]))
        x = rematerialize(depthwise)(x, self.depthwise[...])
        return self.norm(constrain(x, BATCH, None, None, None))


def depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, h, w, E] and [3, 3, E] -> [B, h, w, E], padded by 0, as nine products: grouped
    convolutions are slow on CPUs. Sums are float32."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(jnp.float32)
    terms = (padded[:, y : y + h, z : z + w] * kernel[y, z] for y in range(3) for z in range(3))
    return reduce(jnp.add, terms).astype(x.dtype)


def linear(inputs: int, outputs: int, *, axes: Axes = (FSDP, None), rngs: nnx.Rngs) -> Affine:
    """A linear layer that keeps the scale of its inputs."""
    return rescale(Affine((inputs, outputs), (outputs,), axes=axes, rngs=rngs), inputs)


def rescale(affine: Affine, inputs: int) -> Affine:
    """Gives its kernel the standard deviation inputs^-0.5, in place."""
    affine.kernel[...] *= inputs**-0.5 / STD
    return affine


def apply(affine: Affine, x: jax.Array, *, whole: bool = False) -> jax.Array:
    """[..., D] -> [..., E]; whole: see `cast_einsum`."""
    x = cast_einsum("...D,DE->...E", x, affine.kernel[...], affine.axes, whole)
    return add_bias(x, affine.bias[...])
