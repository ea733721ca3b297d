"""The ViT baseline of DINO v1, with [CLS] and, by choice, plain registers."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.block import Block, layer_norm, run_blocks, stack, watched
from rats_jax.models.features import Features
from rats_jax.models.linear import init, repeat
from rats_jax.models.patch_embed import PatchEmbed


class ViT(nnx.Module):
    """Vision Transformer; tokens are [CLS], patches, then `plain_registers` extra tokens without
    position embedding that are not part of the global vector (Darcet et al. 2023).

    Arguments as in RATS.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        plain_registers: int = 0,
        mlp_ratio: int = 4,
        patch: int = 16,
        image_size: int = 224,
        drop_path: float = 0.0,
        position_offset: float = 0.1,
        remat: str = "none",
        unroll: int = 1,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.depth, self.plain_registers, self.drop_path = depth, plain_registers, drop_path
        self.remat, self.unroll, self.dtype = remat, unroll, dtype
        self.patch_embed = PatchEmbed(
            width=width,
            patch=patch,
            image_size=image_size,
            offset=position_offset,
            dtype=dtype,
            rngs=rngs,
        )
        # [CLS] has a position too, in the same tensor: clipping by tensor depends on it.
        positions = 1 + self.patch_embed.positions
        self.pos_embed = nnx.Param(init(rngs.params(), (positions, width)))
        self.cls_token = nnx.Param(init(rngs.params(), (width,)))
        if plain_registers:
            self.registers = nnx.Param(init(rngs.params(), (plain_registers, width)))
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
    ) -> Features:
        """As RATS; the attention returned is that of [CLS] and the registers to the patches,
        a part of a softmax over all tokens."""
        batch = images.shape[0]
        cls_position, positions = jnp.split(self.pos_embed[...], [1])
        patches = self.patch_embed(images, positions)
        last_patch = 1 + patches.shape[1]

        tokens = [repeat(self.cls_token[...] + cls_position, batch, self.dtype), patches]
        if self.plain_registers:
            tokens.append(repeat(self.registers[...], batch, self.dtype))
        tokens, attention = run_blocks(
            self.blocks,
            jnp.concatenate(tokens, axis=1),
            layers=range(self.depth),
            keep=keep,
            remat=self.remat,
            unroll=self.unroll,
            attention_of=watched(attention_of, self.depth),
        )
        tokens = self.norm(tokens)
        attention = {
            i: jnp.concatenate([a[:, :, :1], a[:, :, last_patch:]], axis=2)[..., 1:last_patch]
            for i, a in attention.items()
        }
        return Features(tokens[:, last_patch:], tokens[:, 1:last_patch], tokens[:, 0], attention)
