"""A ViT without [CLS]: queries and patches attend to each other in ordinary attention."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.block import Block, layer_norm, run_blocks, stack, watched
from rats_jax.models.features import Features, Layer, Tokens
from rats_jax.models.linear import init, repeat
from rats_jax.models.patch_embed import PatchEmbed


class Joint(nnx.Module):
    """Its queries are what registers are in RATS. Arguments as in RATS."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        queries: int = 96,
        mlp_ratio: float = 4,
        patch: int = 16,
        image_size: int = 224,
        drop_path: float = 0.0,
        position_offset: float = 0.1,
        remat: str = "none",
        unroll: int = 1,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.depth, self.drop_path = depth, drop_path
        self.remat, self.unroll, self.dtype = remat, unroll, dtype
        self.patch_embed = PatchEmbed(
            width=width,
            patch=patch,
            image_size=image_size,
            offset=position_offset,
            dtype=dtype,
            rngs=rngs,
        )
        self.pos_embed = nnx.Param(init(rngs.params(), (self.patch_embed.positions, width)))
        self.queries = nnx.Param(init(rngs.params(), (queries, width)))
        self.blocks = stack(
            lambda rngs: Block(
                width=width, heads=heads, mlp_ratio=mlp_ratio, dtype=dtype, rngs=rngs
            ),
            depth=depth,
            rngs=rngs,
        )
        self.norm = layer_norm(width, rngs=rngs)

    def __call__(
        self,
        images: jax.Array,
        *,
        keep: jax.Array | None = None,
        attention_of: Sequence[int] = (),
        layers_of: Sequence[int] = (),
    ) -> Features:
        """As RATS; the attention returned is that of the queries to the patches, a part of a
        softmax over all tokens."""
        patches = self.patch_embed(images, self.pos_embed[...])
        queries = repeat(self.queries[...], len(images), self.dtype)
        first = queries.shape[1]

        def parted(tokens: jax.Array) -> Tokens:
            return Tokens(tokens[:, :first], tokens[:, first:], tokens[:, :first].mean(1))

        tokens, attention, passed = run_blocks(
            self.blocks,
            jnp.concatenate([queries, patches], axis=1),
            layers=range(self.depth),
            keep=keep,
            remat=self.remat,
            unroll=self.unroll,
            attention_of=watched(attention_of, self.depth),
            tokens_of=watched(layers_of, self.depth),
        )
        attention = {i: a[:, :, :first, first:] for i, a in attention.items()}
        layers = {i: Layer(parted(x), parted(self.norm(x))) for i, x in passed.items()}
        return Features(*parted(self.norm(tokens)), attention, layers)
