"""Backbone and head as one function from crops to logits."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models import Features


@dataclass(frozen=True, kw_only=True)
class Network:
    """The static part of student and teacher; parameters are passed in, as a plain tree
    {"backbone": ..., "head": ...} of float32 arrays.

    loss_scope: what is a global vector. "all": the backbone's own, one loss (G = 1). "head": one
        for each head, the mean of that head's registers, each a loss of its own (paper, Table 6).
    """

    backbone: nnx.GraphDef
    head: nnx.GraphDef
    heads: int
    loss_scope: str = "all"

    @property
    def losses(self) -> int:
        """G"""
        return self.heads if self.loss_scope == "head" else 1

    def features(self, params: dict, images: jax.Array, **options) -> Features:
        """Features of normalised images [B, h, w, 3]; options are those of the backbone."""
        return nnx.merge(self.backbone, params["backbone"])(images, **options)

    def logits(
        self, params: dict, crops: dict[str, jax.Array], *, key: jax.Array | None = None
    ) -> jax.Array:
        """Crops {name: [B, V, h, w, 3]}, names in order, to logits [B, sum of V, G, K], float32.

        Images come before crops in every array, so that a mesh that splits them moves nothing.
        """
        groups = [images for images in crops.values() if images.shape[1]]
        keys = [None] * len(groups) if key is None else jax.random.split(key, len(groups))
        vectors = [
            self._vectors(params, images, key) for images, key in zip(groups, keys, strict=True)
        ]
        head = nnx.merge(self.head, params["head"])
        return head(jnp.concatenate(vectors, axis=1))

    def _vectors(self, params: dict, crops: jax.Array, key: jax.Array | None) -> jax.Array:
        """[B, V, h, w, 3] -> [B, V, G, D]"""
        batch, views = crops.shape[:2]
        features = self.features(params, crops.reshape(-1, *crops.shape[2:]), key=key)
        if self.loss_scope == "all":
            vectors = features.global_vector
        else:
            registers = features.registers
            vectors = registers.reshape(registers.shape[0], self.heads, -1, registers.shape[-1])
            vectors = vectors.mean(2)
        return vectors.reshape(batch, views, self.losses, -1)


def make_network(
    make_backbone: Callable[[nnx.Rngs], nnx.Module],
    make_head: Callable[[nnx.Rngs], nnx.Module],
    *,
    heads: int,
    loss_scope: str = "all",
) -> tuple[Network, Callable[[jax.Array], dict]]:
    """The network, and the function that makes its parameters from a key."""
    if loss_scope not in ("all", "head"):
        raise ValueError(f'loss scope is "all" or "head", not {loss_scope!r}')
    makers = {"backbone": make_backbone, "head": make_head}

    def init(key: jax.Array) -> dict:
        keys = jax.random.split(key)
        return {
            name: nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key))))
            for (name, make), key in zip(makers.items(), keys, strict=True)
        }

    graphs = {
        name: nnx.split(nnx.eval_shape(lambda make=make: make(nnx.Rngs(0))))[0]
        for name, make in makers.items()
    }
    return Network(**graphs, heads=heads, loss_scope=loss_scope), init
