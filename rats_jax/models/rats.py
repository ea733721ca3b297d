"""RATS, the Register Attention Transformer (arXiv 2606.14701, section 3)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.block import (
    RegisterBlock,
    layer_norm,
    run_blocks,
    stack,
    watched,
)
from rats_jax.models.features import Features, Layer, Tokens
from rats_jax.models.linear import init, repeat
from rats_jax.models.patch_embed import PatchEmbed


class RATS(nnx.Module):
    """A ViT whose self-attention is the register bottleneck, without [CLS].

    width, depth, heads, mlp_ratio, patch: as in a ViT. image_size: pixels of the square image whose
    grid the position embeddings are learned on; images can have any multiple of the patch as sides.
    registers_per_head: n; N = n * heads registers in total. register_std: their initial standard
    deviation, which the paper does not give; 0.02 is that of the weights.
    communicate, sharing, parallel: see RegisterAttention and RegisterBlock.
    drop_path: rate of the last layer. position_offset: see `interpolate_positions`.
    remat, unroll: see `run_blocks`. dtype: of the computation; parameters are float32.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        registers_per_head: int = 16,
        register_std: float = 0.02,
        mlp_ratio: int = 4,
        patch: int = 16,
        image_size: int = 224,
        communicate: str = "parameter_free",
        sharing: str = "partitioned",
        parallel: str = "none",
        drop_path: float = 0.0,
        position_offset: float = 0.1,
        remat: str = "none",
        unroll: int = 1,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.depth, self.heads, self.drop_path = depth, heads, drop_path
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
        owned = heads, registers_per_head, width
        self.registers = nnx.Param(nnx.initializers.normal(register_std)(rngs.params(), owned))
        self.blocks = stack(
            lambda rngs: RegisterBlock(
                width=width,
                heads=heads,
                mlp_ratio=mlp_ratio,
                communicate=communicate,
                sharing=sharing,
                parallel=parallel,
                dtype=dtype,
                rngs=rngs,
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
        """Normalised images [B, height, width, 3], any float dtype, sides multiples of the patch.

        keep: see `draw_drop_path`; None for no drop path. attention_of: layers whose compress
        attention is returned. layers_of: layers whose tokens are returned. Negative numbers count
        from the end.
        """
        batch = images.shape[0]
        patches = self.patch_embed(images, self.pos_embed[...])
        registers = repeat(self.registers[...], batch, self.dtype)
        tokens, attention, passed = run_blocks(
            self.blocks,
            (registers, patches),
            layers=range(self.depth),
            keep=keep,
            remat=self.remat,
            unroll=self.unroll,
            attention_of=watched(attention_of, self.depth),
            tokens_of=watched(layers_of, self.depth),
        )
        layers = {i: self._layer(*x) for i, x in passed.items()}
        return Features(*self._layer(*tokens).normed, attention, layers)

    def _layer(self, registers: jax.Array, patches: jax.Array) -> Layer:
        """The layer's output from registers [B, H, n, D] and patches [B, L, D]."""

        def tokens(registers: jax.Array, patches: jax.Array) -> Tokens:
            registers = registers.reshape(len(registers), -1, registers.shape[-1])
            return Tokens(registers, patches, registers.mean(1))

        return Layer(tokens(registers, patches), tokens(self.norm(registers), self.norm(patches)))
