"""Backbone and head as one function from crops to logits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.dino.codebook import init_entries
from rats_jax.models import Features
from rats_jax.models.axes import BATCH, constrain
from rats_jax.models.block import draw_drop_path


class Outputs(NamedTuple):
    """logits: [B, sum of V, G, K], float32. registers: those of the crops named "global",
    [B * V, N, D], in the compute dtype; None without such crops."""

    logits: jax.Array
    registers: jax.Array | None


@dataclass(frozen=True, kw_only=True)
class Network:
    """The static part of student and teacher; parameters are passed in, as a plain tree
    {"backbone": ..., "head": ...} of float32 arrays. With a learned dictionary, the tree also has
    {"dictionary": {"entries": [E, D]}}, which the network itself does not use.

    loss_scope: which global vectors have a loss. "all": the backbone's global vector, one loss
        (G = 1). "head": one vector for each head, the mean of that head's registers, each with its
        own loss (paper, Table 6).
    """

    backbone: nnx.GraphDef = field(repr=False)
    head: nnx.GraphDef = field(repr=False)
    heads: int
    depth: int
    drop_path: float
    loss_scope: str = "all"

    @property
    def losses(self) -> int:
        """G, the number of losses."""
        return self.heads if self.loss_scope == "head" else 1

    def features(self, params: dict, images: jax.Array, **options) -> Features:
        """Features of normalised images [B, h, w, 3]; options are those of the backbone."""
        return nnx.merge(self.backbone, params["backbone"])(images, **options)

    def draw_drop_path(self, key: jax.Array, crops: dict[str, jax.ShapeDtypeStruct]) -> dict:
        """Drop path of every crop of a batch, float32 {name: [B, V, depth, 2]}; {} at rate 0."""
        if self.drop_path == 0:
            return {}
        shapes = {name: x.shape[:2] for name, x in crops.items() if x.shape[1]}
        keys = jax.random.split(key, len(shapes))
        rate, depth, keep = self.drop_path, self.depth, {}
        for (name, (batch, views)), key in zip(shapes.items(), keys, strict=True):
            drawn = draw_drop_path(key, rate=rate, depth=depth, batch=batch * views)
            keep[name] = jnp.moveaxis(drawn.reshape(depth, 2, batch, views), (0, 1), (2, 3))
        return keep

    def logits(
        self, params: dict, crops: dict[str, jax.Array], *, keep: dict[str, jax.Array] | None = None
    ) -> jax.Array:
        """The logits of crops, see `outputs`."""
        return self.outputs(params, crops, keep=keep).logits

    def outputs(
        self, params: dict, crops: dict[str, jax.Array], *, keep: dict[str, jax.Array] | None = None
    ) -> Outputs:
        """Crops {name: [B, V, h, w, 3]}, names in order, to logits and registers.

        keep: the drop path, as drawn by `draw_drop_path`. The image axis comes before the crop axis
        in every array, so that a mesh that splits images moves no data.
        """
        keep = keep or {}
        vectors, registers = [], None
        for name, images in crops.items():
            if images.shape[1]:
                with jax.named_scope(f"backbone, {name}"):
                    features = self.of_crops(params, images, keep.get(name))
                    vectors.append(
                        self.global_vectors(features).reshape(*images.shape[:2], self.losses, -1)
                    )
                registers = features.registers if name == "global" else registers
        with jax.named_scope("head"):
            head = nnx.merge(self.head, params["head"])
            logits = head(constrain(jnp.concatenate(vectors, axis=1), BATCH, None, None, None))
        return Outputs(logits, registers)

    def of_crops(self, params: dict, crops: jax.Array, keep: jax.Array | None) -> Features:
        """The features of crops [B, V, h, w, 3], as of B * V images, with their drop path."""
        batch, views = crops.shape[:2]
        if keep is not None:
            keep = jnp.moveaxis(keep.reshape(batch * views, self.depth, 2), 0, 2)
        return self.features(params, crops.reshape(-1, *crops.shape[2:]), keep=keep)

    def global_vectors(self, features: Features) -> jax.Array:
        """The global vectors that have a loss, [B, G, D]."""
        if self.loss_scope == "all":
            return features.global_vector[:, None]
        registers = features.registers
        return registers.reshape(len(registers), self.heads, -1, registers.shape[-1]).mean(2)


def make_network(
    make_backbone: Callable[[nnx.Rngs], nnx.Module],
    make_head: Callable[[nnx.Rngs], nnx.Module],
    *,
    heads: int,
    loss_scope: str = "all",
    entries: tuple[int, int] | None = None,
) -> tuple[Network, Callable[[jax.Array], dict]]:
    """The network, and the function that makes its parameters from a key.

    entries: the number and the width of the entries of a learned dictionary; None without one.
    """
    if loss_scope not in ("all", "head"):
        raise ValueError(f'loss scope is "all" or "head", not {loss_scope!r}')
    makers = {"backbone": make_backbone, "head": make_head}

    def init(key: jax.Array) -> dict:
        keys = jax.random.split(key)
        params = {
            name: nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key))))
            for (name, make), key in zip(makers.items(), keys, strict=True)
        }
        if entries:  # from a separate key: the rest starts as without a dictionary
            params["dictionary"] = {"entries": init_entries(jax.random.fold_in(key, 2), *entries)}
        return params

    modules = {
        name: nnx.eval_shape(lambda make=make: make(nnx.Rngs(0))) for name, make in makers.items()
    }
    network = Network(
        **{name: nnx.split(module)[0] for name, module in modules.items()},
        heads=heads,
        depth=modules["backbone"].depth,
        drop_path=modules["backbone"].drop_path,
        loss_scope=loss_scope,
    )
    return network, init
