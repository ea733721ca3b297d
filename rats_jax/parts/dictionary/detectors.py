"""The vectors of an image that a dictionary is made of, each with a map of where it looks.

They are registers where a backbone has registers, and clusters of patches where it has none. The
maps are scaled to 0..1, so that those of different backbones are used in the same way.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from rats_jax.models import Features
from rats_jax.models.features import Tokens
from rats_jax.models.options import Options
from rats_jax.parts.null_regions import kmeans_regions
from rats_jax.parts.regions import EXACT, Size, unit

#: What the vectors of a dictionary are.
Kind = Literal["registers", "regions"]


class Detectors(NamedTuple):
    """vectors: float32 [B, N, D]. maps: float32 [B, N, L], the smallest value of each is 0 and the
    largest 1; a map of equal values is 0."""

    vectors: jax.Array
    maps: jax.Array


def kind_of(options: Options) -> Kind:
    """What the detectors of a backbone are: its registers, or, without registers, "regions"."""
    return "registers" if options.registers else "regions"


def layers_needed(options: Options, *, norm: str) -> dict[str, tuple[int, ...]]:
    """The arguments `attention_of` and `layers_of` of a backbone, whose features `detect` needs."""
    last = (options.depth - 1,)
    attends = options.registers and options.attended_layer == last[0]
    return {
        "attention_of": last if attends else (),
        "layers_of": last if norm == "pre" else (),
    }


def detect(
    features: Features, options: Options, *, grid: Size, norm: str = "post", regions: int = 16
) -> Detectors:
    """The detectors of a batch of images.

    - Registers: the vector is the register in the last layer. Its map is its attention to the
      patches in that layer (of its own head if heads own registers, else the mean over heads). The
      Perceiver's queries do not attend to patches; their map is the cosine with each patch.
    - "regions", for backbones without registers: K-means clusters of an image's patches, as the
      baseline of `evaluate --task=parts`. The vector is the mean patch, and the map is 1 inside and
      0 outside; a cluster without a patch has the vector 0 and the map 0.

    features: with what `layers_needed` says. norm: tokens after ("post") or before ("pre") the
    final LayerNorm. regions: the number of clusters of an image, for backbones without registers.
    """
    tokens: Features | Tokens = features
    if norm == "pre":
        ((_, layer),) = features.layers.items()
        tokens = layer.raw
    patches = tokens.patches.astype(jnp.float32)
    if not options.registers:
        labels = kmeans_regions(patches, grid=grid, k=regions).reshape(len(patches), -1)
        member = jax.nn.one_hot(labels, regions, axis=1)  # [B, K, L]
        sums = jnp.einsum("bkl,bld->bkd", member, patches, precision=EXACT)
        return Detectors(sums / jnp.maximum(member.sum(-1, keepdims=True), 1), member)
    registers = tokens.registers.astype(jnp.float32)
    if features.attention:
        (attention,) = features.attention.values()
        maps = _of_each_register(attention, options)
    else:
        maps = jnp.einsum("bnd,bld->bnl", unit(registers), unit(patches), precision=EXACT)
    return Detectors(registers, scaled(maps))


def _of_each_register(attention: jax.Array, options: Options) -> jax.Array:
    """[B, N, L] from the attention of a layer, see `Features`."""
    if options.owning_heads:
        return attention.reshape(len(attention), -1, attention.shape[-1])
    return attention[:, :, int(options.has_cls) :].mean(1)


def scaled(maps: jax.Array) -> jax.Array:
    """Maps [..., L], each scaled linearly so that its values reach from 0 to 1."""
    low, high = maps.min(-1, keepdims=True), maps.max(-1, keepdims=True)
    span = high - low
    return jnp.where(span > 0, (maps - low) / jnp.where(span > 0, span, 1), 0)
